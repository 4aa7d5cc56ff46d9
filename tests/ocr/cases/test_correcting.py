"""What a sender says of single lines and fields."""

from __future__ import annotations

from typing import Any

import pytest

from gpupool_ocr.cases.correcting import Correction, LineCorrection, corrected, draft_labels
from gpupool_ocr.cases.redaction import Redacted
from gpupool_wire.errors import NotFound, UsageError

CORNERS = [[1, 1], [30, 1], [30, 9], [1, 9]]
RESULT: dict[str, Any] = {
    "type": "shop_receipt",
    "lines": [{"polygon": CORNERS, "text": text, "score": 0.5} for text in ("T0TAL", "████", "9.00")],
    "fields": {
        "total": {"value": "9.OO", "normalised": "9.00", "polygon": CORNERS},
        "account": {"value": "█", "normalised": "█", "polygon": CORNERS},
    },
}


def apply(**said: Any) -> dict[str, Any]:
    lines = [LineCorrection(order=order, text=text) for order, text in said.pop("lines", {}).items()]
    return corrected(draft_labels(RESULT), RESULT, Correction(trace="t", lines=lines, **said))


def test_a_draft_is_what_was_read_without_what_is_taken_out() -> None:
    draft = draft_labels(RESULT)
    assert [(line["order"], line["text"]) for line in draft["lines"]] == [(0, "T0TAL"), (2, "9.00")]
    assert (draft["type"], draft["fields"]) == ("shop_receipt", {"total": "9.00"})


def test_single_lines_and_fields_are_replaced() -> None:
    labels = apply(lines={0: "TOTAL"}, fields={"total": "9.50", "date": "2026-01-02"})
    assert [line["text"] for line in labels["lines"]] == ["TOTAL", "9.00"]
    assert labels["fields"] == {"total": "9.50", "date": "2026-01-02"}


def test_a_second_correction_keeps_the_first() -> None:
    first = apply(lines={0: "TOTAL"})
    second = corrected(first, RESULT, Correction(trace="t", lines=[LineCorrection(order=2, text="9.50")]))
    assert [line["text"] for line in second["lines"]] == ["TOTAL", "9.50"]


def test_what_cannot_be_corrected_is_named() -> None:
    with pytest.raises(NotFound, match="no line 3; its lines are 0 to 2"):
        apply(lines={3: "x"})
    with pytest.raises(NotFound, match="no line 0; none of its lines is kept"):
        corrected(draft_labels({}), {}, Correction(trace="t", lines=[LineCorrection(order=0, text="x")]))
    with pytest.raises(Redacted, match="line 1 is taken out"):
        apply(lines={1: "6222"})
    with pytest.raises(UsageError, match="names `lines`"):
        apply()
    assert apply(complete=True) == draft_labels(RESULT)
