"""Pages drawn on the fly, and one pipeline for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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

    def write(name: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> Path:
        path = tmp_path / name
        image = Image.new("RGB", size, (10, 200, 90))
        if mode == "I;16":
            image = Image.fromarray(np.full(size[::-1], 32_896, np.uint16))
        elif mode != "RGB":
            image = image.convert(mode)
        image.save(path, **options)
        return path

    return write


@pytest.fixture
def locked_pdf(tmp_path: Path) -> Path:
    """A PDF that opens with a password only: its standard security handler fits no password at all."""
    handler = b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%b> /U <%b> >>" % (b"11" * 32, b"22" * 32)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] >>",
        handler,
    ]
    document, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(document)
    document += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    document += b"trailer\n<< /Size 5 /Root 1 0 R /Encrypt 4 0 R /ID [<00> <00>] >>\nstartxref\n%d\n%%%%EOF\n" % start
    path = tmp_path / "locked.pdf"
    path.write_bytes(document)
    return path
