"""Documents as rows of a table: CSV that spreadsheets open without running anything in it."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

from gpupool_ocr.fields.document import Document

#: What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_HEAD = ("file", "page", "type", "sound", "missing", "failed_checks", "duplicate_of")


def harmless(text: str) -> str:
    """Return text that a spreadsheet shows and does not run: a quote is put before what could begin a formula.

    Negative amounts stay numbers.
    """
    if text.startswith(_FORMULA) and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    digits = text[1:].replace(".", "", 1)
    return text[:1] in "+-" and digits.isascii() and digits.isdigit()


def write_csv(rows: Iterable[tuple[str, int, Document, str]], names: Iterable[str], out: TextIO) -> None:
    """Write a row per (file, page, document, what it is a duplicate of), with the normal forms of the fields called `names`."""
    columns = list(names)
    table = csv.writer(out)
    table.writerow([*_HEAD, *columns])
    for file, page, document, duplicate in rows:
        failed = " | ".join(f"{check.check}: {check.message}" for check in document.checks if check.passed is False)
        values = document.normalised()
        head = [
            file,
            str(page),
            document.type,
            "yes" if document.is_sound else "no",
            " ".join(document.missing),
            failed,
            duplicate,
        ]
        table.writerow([harmless(cell) for cell in [*head, *(values.get(name, "") for name in columns)]])
