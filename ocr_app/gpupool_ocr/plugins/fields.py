"""Structured fields as a plug-in: `call: fields` in a snapshot, or "gpupool_ocr.plugins.fields:extract".

lines ──rules of gpupool_ocr.fields──> {"type": ..., "fields": {...}, "checks": [...]}
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


def extract(page: dict[str, Any], *, rules: str | None = None, type_name: str | None = None) -> dict[str, Any]:
    """Return the document a page is, by the packaged rules or those of a folder; of a given type, or of the one it looks like."""
    line = import_module("gpupool_ocr.fields.geometry").TextLine.of
    lines = [line(one["polygon"], one["text"], one["score"]) for one in page["lines"]]
    return dict(_extractor(rules).extract(lines, type_name).to_json())


@cache
def _extractor(rules: str | None) -> Any:  # noqa: ANN401 - imported when a snapshot names it
    return import_module("gpupool_ocr.fields.packaged").load_extractor(Path(rules) if rules else None)
