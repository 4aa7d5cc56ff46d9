"""The page of reports in a real browser: a month of a made-up pool is shown, grouped anew, and downloaded in every format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pypdf
import pytest

from bench.month_facts import HOUR_MS, Month
from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.sql import SqlStore
from tests.web.conftest import BROWSER, WAIT_MS, Pages, launch

pytestmark = BROWSER
LAST_MONTH = f"{datetime.now(UTC).date().replace(day=1) - timedelta(days=1):%Y-%m}"


def journal_of_a_month(database: Path, *, tenants: int, devices: int) -> None:
    """Leave a broker the journal of last month, with a price list."""
    period = period_of(LAST_MONTH)
    at_ms = period.start_ms - 3 * HOUR_MS
    store = SqlStore(sqlite_url(database))
    price = f.PriceSet(
        at_ms=at_ms,
        by="admin",
        valid_from="2020-01-01",
        currency="EUR",
        reserved_pct_hour="0.0213",
        memory_gib_hour="0.0011",
        used_hour="0.7",
        burst_hour="0.3",
        energy_kwh="0.31",
    )
    factor = f.CarbonSet(at_ms=at_ms, by="admin", valid_from="2020-01-01", grams_per_kwh="363")
    store.append([price, factor, *Month(period, tenants=tenants, devices=devices, seed=3).facts()])
    store.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """A broker with the journal of a month, and the pages, each a real process."""
    home = tmp_path_factory.mktemp("reports")
    (home / "broker").mkdir()
    journal_of_a_month(home / "broker" / "broker.sqlite", tenants=9, devices=6)
    log = home / "log"
    common = ["--bind", "127.0.0.1:0", "--home", str(home), "--admin-token-file", str(home / "admin.token")]
    broker, at = launch(["broker", *common, "--http", "127.0.0.1:0"], home / "broker.json", log)
    try:
        web, page = launch(["web", *common, "--api", at["http"]], home / "web.json", log)
        try:
            yield Pages(page["http"], page["sign_in"], (home / "admin.token").read_text().strip())
        finally:
            web.terminate()
            assert web.wait(20) == 0, log.read_text()
    finally:
        broker.terminate()
        assert broker.wait(20) == 0, log.read_text()


@pytest.fixture(scope="module")
def page(pages: Pages, visitor: Callable[..., Any]) -> Any:
    """A browser's page of an admin."""
    return visitor(pages.admin)


@pytest.fixture
def shown(pages: Pages, page: Any) -> dict[str, Any]:
    """Open last month's report; return what REST says of it."""
    page.goto(f"{pages.http}/reports?period={LAST_MONTH}")
    page.wait_for_selector("text=Saved by pooling", timeout=WAIT_MS)
    return pages.rest("GET", f"/reports/{LAST_MONTH}")


def test_the_page_shows_what_rest_says(pages: Pages, page: Any, shown: dict[str, Any]) -> None:
    text = page.inner_text("main")
    total = f"{float(shown['total']['shown']['cost']):,.2f} EUR"
    assert total in text
    assert all(row["key"] in text for row in shown["rows"])
    assert page.locator("canvas").count() == 2
    assert pages.complaints == []


def test_another_grouping_is_drawn_without_reload(pages: Pages, page: Any, shown: dict[str, Any]) -> None:
    page.get_by_label("Lines").click()
    page.get_by_role("option", name="by device model").click()
    page.wait_for_selector("text=By device model", timeout=WAIT_MS)
    page.wait_for_selector("td:has-text('null-40')", timeout=WAIT_MS)
    assert f"{float(shown['total']['shown']['cost']):,.2f} EUR" in page.inner_text("main")


def test_every_format_is_downloaded_and_agrees(page: Any, shown: dict[str, Any], tmp_path: Path) -> None:
    cost = shown["total"]["shown"]["cost"]
    files = {}
    for name in ("json", "csv", "xlsx", "pdf"):
        with page.expect_download(timeout=WAIT_MS) as waiting:
            page.get_by_role("button", name=f"Download as {name.upper()}").click()
        assert waiting.value.suggested_filename == f"gpupool-{LAST_MONTH}-all-by-tenant.{name}"
        waiting.value.save_as(tmp_path / name)
        files[name] = (tmp_path / name).read_bytes()
    assert json.loads(files["json"])["total"]["shown"]["cost"] == cost
    head, *_, total = csv.reader(io.StringIO(files["csv"].decode()))
    assert total[head.index("Cost (EUR)")] == cost
    sheet = openpyxl.load_workbook(io.BytesIO(files["xlsx"]))["Report"]
    column = [cell.value for cell in sheet[1]].index("Cost (EUR)")
    assert f"{sheet[sheet.max_row][column].value:.2f}" == cost
    text = "".join(one.extract_text() for one in pypdf.PdfReader(io.BytesIO(files["pdf"])).pages)
    assert f"{float(cost):,.2f}" in text


def test_a_month_that_has_not_begun_is_said(pages: Pages, page: Any) -> None:
    page.goto(f"{pages.http}/reports?period={date.today().year + 2}-01")
    page.wait_for_selector("text=has not begun", timeout=WAIT_MS)
    assert page.get_by_role("alert").count() == 1
