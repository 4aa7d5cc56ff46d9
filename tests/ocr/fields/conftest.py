"""Lines as a recogniser gives them, and the packaged rules."""

from __future__ import annotations

import pytest

from gpupool_ocr.fields.extraction import Extractor
from gpupool_ocr.fields.geometry import TextLine
from gpupool_ocr.fields.packaged import load_extractor


def line(text: str, x: float = 0, y: float = 0, score: float = 0.9, height: float = 20) -> TextLine:
    """A level line of characters as wide as half their height, wide ones twice."""
    width = sum(height if char > "\u2e80" else height / 2 for char in text)
    return TextLine.of([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], text, score)


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    return load_extractor()
