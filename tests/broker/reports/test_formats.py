"""Every format is read back with a reader of its own, and all of them say the same."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import openpyxl
import pypdf
import pytest

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.core.accounting.report import GROUPINGS
from gpupool_broker.reports.columns import COLUMNS
from gpupool_broker.reports.csv_file import defused
from gpupool_broker.reports.formats import FORMATS, file_name, render
from gpupool_broker.store.databases import sqlite_url
from gpupool_wire.errors import UsageError
from tests.broker.reports.conftest import CHINESE, NASTY


@pytest.fixture
def url(tmp_path: Path) -> str:
    """What a report looks like does not depend on the database."""
    return sqlite_url(tmp_path / "broker.sqlite")


def from_csv(body: bytes) -> dict[str, list[Decimal | None]]:
    rows = list(csv.reader(io.StringIO(body.decode())))
    return {row[0].lstrip("'"): [Decimal(cell) if cell else None for cell in row[1:]] for row in rows[1:]}


def from_json(body: bytes) -> dict[str, list[Decimal | None]]:
    document = json.loads(body)
    names = [column["name"] for column in document["columns"]]
    rows = [*document["rows"], document["total"]]
    return {row["key"]: [None if (v := row["shown"][name]) is None else Decimal(v) for name in names] for row in rows}


def from_xlsx(body: bytes) -> dict[str, list[Decimal | None]]:
    sheet = openpyxl.load_workbook(io.BytesIO(body))["Report"]
    digits = [column.digits for column in COLUMNS]
    return {
        row[0]: [None if cell is None else round(Decimal(cell), n) for cell, n in zip(row[1:], digits, strict=True)]
        for row in sheet.iter_rows(min_row=2, values_only=True)
    }


def text_of(body: bytes) -> str:
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(body)).pages)


def test_the_figures_agree_across_formats(report) -> None:
    plain = from_csv(render(report, "csv"))
    assert set(plain) == {NASTY, CHINESE, "lab", "total"}
    assert from_json(render(report, "json")) == plain
    assert from_xlsx(render(report, "xlsx")) == plain
    text = text_of(render(report, "pdf")).replace(",", "")
    cost = [column.name for column in COLUMNS].index("cost")
    for key, values in plain.items():
        assert str(values[cost]) in text, key


def test_money_adds_up_in_every_direction(report) -> None:
    plain = from_csv(render(report, "csv"))
    total = plain.pop("total")
    names = [column.name for column in COLUMNS]
    for at, name in enumerate(names):
        if name.startswith("cost"):
            assert sum(row[at] for row in plain.values()) == total[at], name
    parts = [at for at, name in enumerate(names) if name.startswith("cost_") and name != "cost_whole"]
    for row in [*plain.values(), total]:
        assert sum(row[at] for at in parts) == row[names.index("cost")]


def test_formulas_are_defused_everywhere(report) -> None:
    assert f'"\'{NASTY.replace(chr(34), chr(34) * 2)}"' in render(report, "csv").decode()
    book = openpyxl.load_workbook(io.BytesIO(render(report, "xlsx")))
    cell = next(row[0] for row in book["Report"].iter_rows() if row[0].value == NASTY)
    assert cell.data_type == "s"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_what_a_spreadsheet_would_calculate_gets_an_apostrophe(text: str) -> None:
    assert defused(text) == f"'{text}"
    assert defused("plain") == "plain"


def test_markup_in_a_name_is_text_in_every_format(store, ledger, facts) -> None:
    name = "<script>alert('&')<b>"
    renamed = [msgspec.structs.replace(fact, tenant=name) if isinstance(fact, f.SliceGranted) else fact for fact in facts]
    store.append(renamed)
    report = ledger().report(period_of("2026-10"))
    assert name in from_csv(render(report, "csv"))
    assert name in from_json(render(report, "json"))
    assert name in from_xlsx(render(report, "xlsx"))
    assert name in "".join(text_of(render(report, "pdf")).split("\n"))


def test_chinese_names_are_in_the_pdf(report) -> None:
    assert CHINESE in text_of(render(report, "pdf"))


def test_a_workbook_has_real_dates(report, ledger) -> None:
    by_day = ledger().report(period_of("2026-10"), by="day")
    book = openpyxl.load_workbook(io.BytesIO(render(by_day, "xlsx")))
    assert book["Report"]["A2"].value == datetime(2026, 10, 1)
    assert book["About"]["B1"].value == datetime(2026, 10, 1)
    assert book["About"]["B2"].value == datetime(2026, 11, 1)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_report_gives_the_same_bytes(report, name: str) -> None:
    assert render(report, name) == render(report, name)


@pytest.mark.parametrize("by", GROUPINGS)
def test_every_grouping_renders_in_every_format(report, ledger, by: str) -> None:
    made = ledger().report(period_of("2026-10"), by=by)
    totals = [from_csv(render(made, "csv"))["total"], from_xlsx(render(made, "xlsx"))["total"]]
    assert totals[0] == totals[1]
    assert "total" in text_of(render(made, "pdf"))


def test_an_empty_month_is_a_report_that_says_so(report, ledger) -> None:
    empty = ledger().report(period_of("2026-09"))
    assert set(from_csv(render(empty, "csv"))) == {"total"}
    assert "Nobody held anything" in text_of(render(empty, "pdf"))
    assert json.loads(render(empty, "json"))["notes"][0] == "Nobody held anything in this time."


def test_energy_that_was_not_measured_is_not_invented(store, ledger, facts) -> None:
    store.append([fact for fact in facts if type(fact).__name__ != "DevicePowered"])
    dark = ledger().report(period_of("2026-10"))
    assert json.loads(render(dark, "json"))["total"]["shown"]["energy_kwh"] is None
    assert "not measured" in text_of(render(dark, "pdf"))


def test_a_file_name_is_plain(report) -> None:
    report.tenant = "../a\nb"
    assert file_name(report, "pdf") == "gpupool-2026-10-___a_b-by-tenant.pdf"


def test_an_unknown_format_is_refused(report) -> None:
    with pytest.raises(UsageError, match="no format 'docx'"):
        render(report, "docx")
