"""What a sender says of an answer it got: single lines and fields, put in place of what was read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gpupool_ocr.cases.redaction import BLACKED, Redacted, is_blacked
from gpupool_wire.errors import NotFound, UsageError


class LineCorrection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a line of the answer says in truth."""

    #: The line's place in the reading order, as it was answered.
    order: int
    text: str


class Correction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wrong with a page that was answered under a trace id."""

    trace: str
    page: int = 1
    #: Needed where several documents were sent under one trace.
    job: str | None = None
    lines: list[LineCorrection] = []
    #: Normal forms by field name.
    fields: dict[str, str] = {}
    #: Everything else on the page is right: it needs nobody's look any more.
    complete: bool = False


def draft_labels(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was read of a page as labels, without what was taken out. Lines keep their `order`."""
    fields = {
        name: str(field["normalised"])
        for name, field in _fields(result).items()
        if isinstance(field, Mapping) and "normalised" in field and field.get("value") != BLACKED
    }
    lines = [
        {"order": order, "polygon": line["polygon"], "text": line["text"]}
        for order, line in enumerate(result.get("lines", []))
        if not is_blacked(line)
    ]
    return {"lines": lines, "type": str(result.get("type") or ""), "fields": fields}


def corrected(labels: Mapping[str, Any], result: Mapping[str, Any], correction: Correction) -> dict[str, Any]:
    """Return labels with a correction. Raises UsageError where it says nothing, NotFound for lines the page has not."""
    if not (correction.lines or correction.fields or correction.complete):
        raise UsageError("a correction names `lines`, `fields`, or says that the page is right (`complete`)")
    texts = {line.order: line.text for line in correction.lines}
    there = {line.get("order") for line in labels["lines"]}
    for order in texts.keys() - there:
        read = result.get("lines", [])
        if 0 <= order < len(read):
            raise Redacted(f"line {order} is taken out of this page: it cannot be corrected")
        there_are = f"its lines are 0 to {len(read) - 1}" if read else "none of its lines is kept"
        raise NotFound(f"the page has no line {order}; {there_are}")
    lines = [{**line, "text": texts.get(line.get("order"), line["text"])} for line in labels["lines"]]
    return {**labels, "lines": lines, "fields": {**(labels.get("fields") or {}), **correction.fields}}


def _fields(result: Mapping[str, Any]) -> Mapping[str, Any]:
    found = result.get("fields")
    return found if isinstance(found, Mapping) else {}
