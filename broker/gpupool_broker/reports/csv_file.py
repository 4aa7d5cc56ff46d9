"""A report as CSV (RFC 4180): a head, the rows, the total.

A text that a spreadsheet would take for a formula (it begins with = + - @, a tab or a carriage return) gets an apostrophe ahead
of it, and is shown as the text it is. Numbers are numbers; what is not known is empty.
"""

from __future__ import annotations

import csv
import io
from typing import Final

from gpupool_broker.core.accounting.report import Report, Row
from gpupool_broker.reports.columns import COLUMNS, KEYS, head_of

#: OWASP, "CSV injection".
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def defused(text: str) -> str:
    """Return a text that no spreadsheet calculates."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def render(report: Report) -> bytes:
    """Return the file, UTF-8."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([KEYS[report.by], *(head_of(column, report) for column in COLUMNS)])
    for row in [*report.rows, report.total]:
        writer.writerow(_cells(report, row))
    return out.getvalue().encode()


def _cells(report: Report, row: Row) -> list[str]:
    values = (column.value(report, row) for column in COLUMNS)
    return [defused(row.key), *("" if value is None else str(value) for value in values)]
