"""Pages drawn on the fly, and one pipeline for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpupool_ocr.local import LocalFactory
from gpupool_ocr.models import packaged_models
from gpupool_ocr.pipeline import Pipeline


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """The packaged models on this host's CPU."""
    return Pipeline(LocalFactory(), packaged_models())


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an image of a mode, size and kind of file."""

    def write(name: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: object) -> Path:
        path = tmp_path / name
        image = Image.new("RGB", size, (10, 200, 90))
        if mode == "I;16":
            image = Image.fromarray(np.full(size[::-1], 32_896, np.uint16))
        elif mode != "RGB":
            image = image.convert(mode)
        image.save(path, **options)
        return path

    return write
