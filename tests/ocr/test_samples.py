"""Sample pages: packaged, small, and drawn again the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpupool_ocr import samples
from gpupool_ocr.metrics import normalise


def test_the_pages_are_small_and_their_texts_known() -> None:
    for path in samples.paths():
        assert path.stat().st_size < 300_000
        assert len(samples.texts_of(path)) >= 10
    everything = normalise("".join(text for path in samples.paths() for text in samples.texts_of(path)))
    assert "total" in everything
    assert "发票" in everything


@pytest.mark.skipif(not samples.FONTS.is_dir(), reason="needs the Noto CJK fonts (Debian: fonts-noto-cjk)")
def test_they_are_drawn_again_the_same(tmp_path: Path) -> None:
    samples.draw_all(tmp_path)
    for path in samples.paths():
        again = tmp_path / path.name
        assert samples.texts_of(again) == samples.texts_of(path)
        drawn, packaged = (np.asarray(Image.open(file).convert("L")).astype(int) for file in (again, path))
        # Other versions of FreeType round glyphs a little differently.
        assert drawn.shape == packaged.shape
        assert np.abs(drawn - packaged).mean() < 2.0
