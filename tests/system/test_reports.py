"""Reports from the command line, of a real broker with the journal of a month."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pypdf
import pytest

from bench.month_facts import Month
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.sql import SqlStore
from tests.broker.conftest import BrokerProcess, launch, stop

pytestmark = pytest.mark.system
LAST_MONTH = f"{datetime.now(UTC).date().replace(day=1) - timedelta(days=1):%Y-%m}"
Command = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker that finds the journal of last month in its home."""
    home = tmp_path_factory.mktemp("reports") / "home"
    (home / "broker").mkdir(parents=True)
    store = SqlStore(sqlite_url(home / "broker" / "broker.sqlite"))
    store.append(list(Month(period_of(LAST_MONTH), tenants=4, devices=2, seed=5).facts()))
    store.close()
    broker = launch(home)
    yield broker
    stop(broker)


@pytest.fixture(scope="module")
def command(broker: BrokerProcess) -> Command:
    def run(*words: str, token: str | None = None) -> subprocess.CompletedProcess[bytes]:
        environ = os.environ | {"GPUPOOL_TOKEN": token or broker.token}
        command = [sys.executable, "-m", "gpupool", *words, "--http", broker.http]
        return subprocess.run(command, capture_output=True, env=environ, timeout=120)

    return run


@pytest.fixture(scope="module")
def priced(command: Command) -> None:
    """Set a price and a factor, as an admin does."""
    done = command("prices", "set", "2020-01-01", "--currency", "EUR", "--reserved", "0.0213", "--energy", "0.31")
    assert done.returncode == 0, done.stderr
    assert command("carbon", "set", "2020-01-01", "--grams", "363").returncode == 0


def test_prices_and_factors_are_listed(command: Command, priced: None) -> None:
    (price,) = json.loads(command("prices", "list", "--json").stdout)
    assert (price["reserved_pct_hour"], price["energy_kwh"], price["currency"]) == ("0.0213", "0.31", "EUR")
    assert b"363" in command("carbon", "list").stdout


def test_a_wrong_price_is_one_sentence(command: Command) -> None:
    done = command("prices", "set", "someday", "--currency", "EUR")
    assert (done.returncode, done.stderr) == (1, b"gpupool: 'someday' is no day: give it as 2026-10-01\n")


def test_the_same_month_in_every_format(command: Command, priced: None, tmp_path: Path) -> None:
    shown: dict[str, Any] = json.loads(command("report", "--month", LAST_MONTH, "--json").stdout)
    cost = shown["total"]["shown"]["cost"]
    assert float(cost) > 0
    assert f"{float(cost):,.2f}" in command("report", "--month", LAST_MONTH).stdout.decode()
    *_, total = csv.reader(io.StringIO(command("report", "--month", LAST_MONTH, "--format", "csv").stdout.decode()))
    assert cost in total
    for name in ("xlsx", "pdf"):
        done = command("report", "--month", LAST_MONTH, "--format", name, "-o", str(tmp_path / f"report.{name}"))
        assert done.returncode == 0, done.stderr
    sheet = openpyxl.load_workbook(tmp_path / "report.xlsx")["Report"]
    assert float(cost) in [cell.value for cell in sheet[sheet.max_row]]
    text = "".join(page.extract_text() for page in pypdf.PdfReader(tmp_path / "report.pdf").pages)
    assert f"{float(cost):,.2f}" in text


def test_one_tenant_sees_the_line_that_everybodys_report_has(broker: BrokerProcess, command: Command, priced: None) -> None:
    everybody = json.loads(command("report", "--month", LAST_MONTH, "--json").stdout)
    line = next(row for row in everybody["rows"] if row["key"] == "tenant-01")
    token = broker.rest("POST", "/api/v1/tokens", {"role": "tenant", "tenant": "tenant-01"})[1]["token"]
    own = json.loads(command("report", "--month", LAST_MONTH, "--json", token=token).stdout)
    assert own["rows"] == [line]
    assert own["devices"]["energy_mj"] == 0, "what all devices drew is not the tenant's to know"
    refused = command("report", "--month", LAST_MONTH, "--tenant", "tenant-02", token=token)
    assert refused.returncode == 1
    assert b"cannot see another tenant" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--month", "2999-01"), b"has not begun"),
        (("--period", "2010-01..2026-01"), b"can be had at once"),
        (("--month", LAST_MONTH, "--zone", "Mars"), b"no time zone"),
        (("--month", LAST_MONTH, "--format", "docx"), b"no format 'docx'"),
        (("--month", LAST_MONTH, "--format", "csv", "-o", "/nowhere/at/all"), b"cannot write /nowhere/at/all"),
    ],
)
def test_what_cannot_be_is_one_sentence(command: Command, words: tuple[str, ...], said: bytes) -> None:
    done = command("report", *words)
    assert (done.returncode, done.stdout) == (1, b"")
    assert said in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_schedule_is_made_listed_and_ended(command: Command) -> None:
    made = json.loads(command("reports", "schedule", "weekly", "--format", "csv", "--folder", "finance", "--json").stdout)
    assert made["schedule_id"] in command("reports", "schedules").stdout.decode()
    assert command("reports", "unschedule", made["schedule_id"]).returncode == 0
    assert command("reports", "schedules").stdout == b"no report is scheduled\n"


def test_a_month_is_frozen_and_its_report_kept(command: Command, priced: None, tmp_path: Path) -> None:
    frozen = json.loads(command("reports", "freeze", LAST_MONTH, "--json").stdout)
    again = command("reports", "freeze", LAST_MONTH)
    assert b"frozen already" in again.stderr
    (kept,) = json.loads(command("reports", "list", "--json").stdout)
    assert command("reports", "get", kept["report_id"], "-o", str(tmp_path / "kept")).returncode == 0
    assert json.loads((tmp_path / "kept").read_bytes())["is_complete"]
    assert json.loads(command("report", "--month", LAST_MONTH, "--json").stdout)["frozen_sha256"] == frozen["sha256"]
