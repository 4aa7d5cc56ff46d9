"""Structured fields as a plug-in of the service."""

from __future__ import annotations

from gpupool_ocr.plans.spec import PluginSpec
from gpupool_ocr.plugins.fields import extract
from gpupool_ocr.plugins.frames import Question
from gpupool_ocr.plugins.process import PluginGroup

LINES = ["No. 1234", "TAN CHAY YEE MART SDN BHD", "12 JALAN BUNGA", "DATE: 14/10/2026", "TOTAL: RM 12.50"]


def lines() -> list[dict[str, object]]:
    return [
        {"polygon": [[10, 40 * row], [300, 40 * row], [300, 40 * row + 30], [10, 40 * row + 30]], "text": text, "score": 0.99}
        for row, text in enumerate(LINES)
    ]


def test_a_page_becomes_a_typed_document() -> None:
    found = extract({"lines": lines(), "height": 400, "width": 400}, type_name="shop_receipt")
    assert found["type"] == "shop_receipt"
    assert {"total", "date"} <= found["fields"].keys()


def test_in_a_process_of_its_own_it_says_the_same() -> None:
    spec = PluginSpec(call="gpupool_ocr.plugins.fields:extract", options={"type_name": "shop_receipt"}, memory_mib=2048)
    group = PluginGroup("fields", spec, 1)
    try:
        answer = group.call(Question(lines=lines(), height=400, width=400))
    finally:
        group.stop()
    assert answer.fields == extract({"lines": lines(), "height": 400, "width": 400}, type_name="shop_receipt")
