"""A report as a page finance can file: what it is of, the table with its total, what pooling saved, advice, the rules."""

from __future__ import annotations

import io
from typing import Any, Final

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from gpupool_broker.core.accounting.report import Report, Row
from gpupool_broker.reports.columns import COLUMNS, KEYS, Column, facts_of, unit_of
from gpupool_broker.reports.fonts import marked_up, register

#: More does not fit a page's width; the other columns are in every other format.
SHOWN: Final = (
    "device_h",
    "reserved_pct_h",
    "reserved_gib_h",
    "used_h",
    "burst_h",
    "idle_h",
    "wait_p95_s",
    "energy_kwh",
    "idle_kwh",
    "co2_kg",
    "cost",
    "cost_whole",
)
_LINE: Final = HexColor("#9aa5b3")
_TEXT = ParagraphStyle("text", fontName="Helvetica", fontSize=8, leading=10)
_NUMBER = ParagraphStyle("number", parent=_TEXT, alignment=TA_RIGHT)
_HEAD = ParagraphStyle("head", parent=_TEXT, fontName="Helvetica-Bold", fontSize=7, leading=8.5)
_NUMBER_HEAD = ParagraphStyle("number head", parent=_HEAD, alignment=TA_RIGHT)
_BOLD = ParagraphStyle("bold", parent=_TEXT, fontName="Helvetica-Bold")
_BOLD_NUMBER = ParagraphStyle("bold number", parent=_BOLD, alignment=TA_RIGHT)
_TITLE = ParagraphStyle("title", parent=_TEXT, fontName="Helvetica-Bold", fontSize=15, leading=20)
_SECTION = ParagraphStyle("section", parent=_BOLD, fontSize=10, leading=14, spaceBefore=8)
RULES: Final = (
    "Reserved: what was held, times how long, to the millisecond. Used: device time, measured. Burst: used beyond what "
    "burst slices held, by quarter hour. Energy of use: measured energy times the share of device time; idle energy is "
    "shared out by what was held. A bill is rounded once, half a cent up; its parts by largest remainder, so that all "
    "sums of money add up. Whole GPUs: what the same devices would have cost held whole. docs/reports.md has every "
    "formula."
)


def render(report: Report) -> bytes:
    """Return the file. The same report gives the same bytes."""
    register()
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=landscape(A4),
        leftMargin=12 * mm,
        rightMargin=12 * mm,
        topMargin=12 * mm,
        bottomMargin=14 * mm,
        title=f"gpupool {report.name}",
        author="gpupool",
        invariant=1,
    )
    foot = f"gpupool · {report.name} · {report.zone} · SHA-256 of the figures {report.sha256()}"

    def footer(canvas: Any, page: Any) -> None:  # noqa: ANN401 - the library has no types
        canvas.setFont("Helvetica", 6.5)
        canvas.drawString(12 * mm, 8 * mm, foot)
        canvas.drawRightString(landscape(A4)[0] - 12 * mm, 8 * mm, f"page {page.page}")

    document.build(_story(report), onFirstPage=footer, onLaterPages=footer)
    return out.getvalue()


def _story(report: Report) -> list[Any]:
    story: list[Any] = [Paragraph(f"GPU pool · {marked_up(report.name)} · by {report.by}", _TITLE)]
    story += [Paragraph(f"<b>{what}</b>: {marked_up(text)}", _TEXT) for what, text in facts_of(report)]
    story += [Spacer(1, 4 * mm), _table(report)]
    if report.adjustments:
        story.append(Paragraph("Adjustments since the month was frozen", _SECTION))
        for one in report.adjustments:
            amounts = f"{one.frozen_cents / 100:.2f} when frozen, {one.now_cents / 100:.2f} now: {one.cents / 100:+.2f}"
            story.append(Paragraph(f"{marked_up(one.key)}: {amounts} {report.currency}", _TEXT))
    if report.advice:
        story.append(Paragraph("Held and hardly used", _SECTION))
        story += [Paragraph(marked_up(str(one)), _TEXT) for one in report.advice]
    story.append(Paragraph("Notes", _SECTION))
    story += [Paragraph(marked_up(note), _TEXT) for note in [*report.notes, RULES]]
    return story


def _table(report: Report) -> Table:
    columns = [column for column in COLUMNS if column.name in SHOWN]
    head = [Paragraph(KEYS[report.by], _HEAD), *(Paragraph(_head(column, report), _NUMBER_HEAD) for column in columns)]
    lines = [head]
    lines += [_line(report, row, columns, _TEXT, _NUMBER) for row in report.rows]
    lines.append(_line(report, report.total, columns, _BOLD, _BOLD_NUMBER))
    width = landscape(A4)[0] - 24 * mm
    first = 42 * mm
    table = Table(lines, colWidths=[first] + [(width - first) / len(columns)] * len(columns), repeatRows=1)
    rules = [
        ("LINEBELOW", (0, 0), (-1, 0), 0.7, _LINE),
        ("LINEBELOW", (0, 1), (-1, -2), 0.2, _LINE),
        ("LINEABOVE", (0, -1), (-1, -1), 0.7, _LINE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ("LEFTPADDING", (0, 0), (-1, -1), 2),
        ("RIGHTPADDING", (0, 0), (-1, -1), 2),
    ]
    table.setStyle(TableStyle(rules))
    return table


def _head(column: Column, report: Report) -> str:
    unit = unit_of(column, report)
    return f"{column.title}<br/>{unit}" if unit else column.title


def _line(report: Report, row: Row, columns: list[Column], text: ParagraphStyle, number: ParagraphStyle) -> list[Any]:
    values = (column.value(report, row) for column in columns)
    cells = (
        "not measured" if value is None and _is_measured(c) else "" if value is None else f"{value:,}"
        for c, value in zip(columns, values, strict=True)
    )
    return [Paragraph(marked_up(row.key), text), *(Paragraph(cell, number) for cell in cells)]


def _is_measured(column: Column) -> bool:
    return column.unit == "kWh"
