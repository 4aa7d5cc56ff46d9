"""A report as a workbook: real numbers and dates; sheets Report, About, Advice and, of a frozen month, Adjustments.

Every text is written as a text, so that none is ever taken for a formula. The same report gives the same file.
"""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from typing import Any

import xlsxwriter

from gpupool_broker.core.accounting.report import Report, Row
from gpupool_broker.reports.columns import COLUMNS, KEYS, facts_of, head_of, local


def render(report: Report) -> bytes:
    """Return the file."""
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    book.set_properties({"title": f"gpupool {report.name}", "created": datetime.fromtimestamp(report.counted_ms / 1000, UTC)})
    styles = {
        "head": book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1}),
        "total": book.add_format({"bold": True, "top": 1}),
        "date": book.add_format({"num_format": "yyyy-mm-dd", "align": "left"}),
        "moment": book.add_format({"num_format": "yyyy-mm-dd hh:mm", "align": "left"}),
    }
    _rows(book, styles, report)
    _about(book, styles, report)
    _advice(book, styles, report)
    if report.frozen_sha256:
        _adjustments(book, styles, report)
    book.close()
    return out.getvalue()


def _rows(book: Any, styles: dict[str, Any], report: Report) -> None:  # noqa: ANN401 - the library has no types
    sheet = book.add_worksheet("Report")
    numbers = [
        (book.add_format({"num_format": shape}), book.add_format({"num_format": shape, "bold": True, "top": 1}))
        for shape in ("#,##0" + (f".{'0' * column.digits}" if column.digits else "") for column in COLUMNS)
    ]
    sheet.set_column(0, 0, 24)
    sheet.set_column(1, len(COLUMNS), 13)
    sheet.freeze_panes(1, 1)
    for at, head in enumerate([KEYS[report.by], *(head_of(column, report) for column in COLUMNS)]):
        sheet.write_string(0, at, head, styles["head"])
    for line, row in enumerate([*report.rows, report.total], 1):
        is_total = row is report.total
        _key(sheet, line, report, row, styles["total"] if is_total else styles["date"] if report.by == "day" else None, is_total)
        for at, column in enumerate(COLUMNS, 1):
            value = column.value(report, row)
            if value is not None:
                sheet.write_number(line, at, value, numbers[at - 1][is_total])


def _key(sheet: Any, line: int, report: Report, row: Row, style: Any, is_total: bool) -> None:  # noqa: ANN401
    if report.by == "day" and not is_total:
        sheet.write_datetime(line, 0, date.fromisoformat(row.key), style)
    else:
        sheet.write_string(line, 0, row.key, style)


def _about(book: Any, styles: dict[str, Any], report: Report) -> None:  # noqa: ANN401
    sheet = book.add_worksheet("About")
    sheet.set_column(0, 0, 24)
    sheet.set_column(1, 1, 100)
    moments = (("Start", report.start_ms), ("End", report.end_ms), ("Counted to", report.counted_ms))
    for line, (what, at_ms) in enumerate(moments):
        sheet.write_string(line, 0, what, styles["head"])
        sheet.write_datetime(line, 1, local(at_ms, report.zone).replace(tzinfo=None), styles["moment"])
    for line, (what, text) in enumerate([*facts_of(report), *(("Note", note) for note in report.notes)], len(moments)):
        sheet.write_string(line, 0, what, styles["head"])
        sheet.write_string(line, 1, text)


def _advice(book: Any, styles: dict[str, Any], report: Report) -> None:  # noqa: ANN401
    sheet = book.add_worksheet("Advice")
    heads = ("Tenant", "Node", "Device", "Held (%)", "Used at p95 (%)", "Enough (%)", "Minutes")
    for at, head in enumerate(heads):
        sheet.write_string(0, at, head, styles["head"])
    for line, one in enumerate(report.advice, 1):
        for at, text in enumerate((one.tenant, one.node, one.device)):
            sheet.write_string(line, at, text)
        for at, number in enumerate((one.held_pct, one.p95_pct, one.enough_pct, one.minutes), 3):
            sheet.write_number(line, at, number)


def _adjustments(book: Any, styles: dict[str, Any], report: Report) -> None:  # noqa: ANN401
    sheet = book.add_worksheet("Adjustments")
    for at, head in enumerate(("Project", "When frozen", "Now", "Adjustment")):
        sheet.write_string(0, at, head, styles["head"])
    for line, one in enumerate(report.adjustments, 1):
        sheet.write_string(line, 0, one.key)
        for at, cents in enumerate((one.frozen_cents, one.now_cents, one.cents), 1):
            sheet.write_number(line, at, cents / 100)
