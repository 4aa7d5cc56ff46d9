"""Tables that spreadsheets open without running them."""

from __future__ import annotations

import csv
import io

import pytest

from gpupool_ocr.fields.checks import CheckResult
from gpupool_ocr.fields.document import Document, Field
from gpupool_ocr.fields.export import harmless, write_csv


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", "\r=1", "＝1", "-", "+"])
def test_formulas_are_quoted(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-12.50", "+8", "a=b", "", "2026-10-14", "捌仟"])
def test_values_stay_what_they_are(text: str) -> None:
    assert harmless(text) == text


def field(name: str, value: str) -> Field:
    return Field(name=name, kind="text", value=value, normalised=value, polygon=((0, 0), (1, 0), (1, 1)), confidence=0.5)


def test_a_row_holds_fields_faults_and_what_it_repeats() -> None:
    check = CheckResult(check="sum", fields=("a",), passed=False, message="1 against 2")
    document = Document(type="x", title="X", confidence=1, fields={"a": field("a", "=1")}, checks=(check,), missing=("b",))
    out = io.StringIO()
    write_csv([("f, g.png", 1, document, "other.png (identity)")], ["a", "b"], out)
    head, row = csv.reader(io.StringIO(out.getvalue()))
    assert dict(zip(head, row, strict=True)) == {
        "file": "f, g.png",
        "page": "1",
        "type": "x",
        "sound": "no",
        "missing": "b",
        "failed_checks": "sum: 1 against 2",
        "duplicate_of": "other.png (identity)",
        "a": "'=1",
        "b": "",
    }
