"""Files to pages: images of every common kind and PDFs become BGR arrays, one page at a time.

A 500-page PDF is rendered as it is read, never held whole. Whatever is wrong with a file becomes one PageError that names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpupool_wire.errors import UsageError

Image = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
PDF_SUFFIX = ".pdf"
#: A page of A0 at 200 dpi has 62 million pixels; more is a decompression bomb or a map, and neither is a page.
MAX_PIXELS = 100_000_000
#: The resolution PDFs are rendered at: 10 point text becomes 28 pixels high, which the recogniser reads well.
PDF_DPI = 200


class PageError(UsageError):
    """The file cannot be read as pages."""

    code = "page"


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of a file."""

    path: Path
    #: From 1.
    number: int
    #: uint8, (height, width, 3), BGR.
    image: Image


def find_files(paths: list[Path]) -> list[Path]:
    """Return the files to read, folders replaced by the images and PDFs in them, in order; raise PageError for a missing path."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in {*IMAGE_SUFFIXES, PDF_SUFFIX})
            if not inside:
                raise PageError(f"{path} holds no images and no PDFs")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise PageError(f"{path} does not exist")
    return found


def load_pages(path: Path) -> Iterator[Page]:
    """Yield the pages of a file; raise PageError where it is not an image or PDF that can be read."""
    if path.stat().st_size == 0:
        raise PageError(f"{path} is empty (0 bytes)")
    with path.open("rb") as file:
        head = file.read(1024)
    if b"%PDF-" in head:
        yield from _pdf_pages(path)
    else:
        yield Page(path=path, number=1, image=_load_image(path))


def count_pages(path: Path) -> int:
    """Return how many pages a file has, 1 where that cannot be told without reading it."""
    if path.suffix.lower() != PDF_SUFFIX:
        return 1
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(path) as document:
            return len(document)
    except pypdfium2.PdfiumError:
        return 1


def _load_image(path: Path) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with Pillow.open(path) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise PageError(f"{path} has {width}x{height} pixels; the limit is {MAX_PIXELS} in all")
            opened.load()
            return _to_bgr(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise PageError(f"{path} is not an image or PDF") from error
    except Pillow.DecompressionBombError as error:
        raise PageError(f"{path} unpacks to more than {MAX_PIXELS} pixels") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, PageError):
            raise
        raise PageError(f"{path} is damaged: {error}") from error


def _to_bgr(image: Any) -> Image:  # noqa: ANN401 - Pillow's class is imported lazily
    """Return any of Pillow's modes as BGR: 16 bit scaled to 8, transparency on white, CMYK and palettes converted."""
    from PIL import Image as Pillow

    if image.mode.startswith(("I", "F")):
        deep = np.asarray(image).astype(np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(deep.max(initial=0.0)), 1.0)
        image = Pillow.fromarray(np.clip(deep / top * 255.0, 0, 255).astype(np.uint8))
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Pillow.new("RGBA", image.size, "white")
        image = Pillow.alpha_composite(paper, image)
    rgb = np.asarray(image.convert("RGB"))
    return np.ascontiguousarray(rgb[:, :, ::-1])


def _pdf_pages(path: Path) -> Iterator[Page]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        why = "is encrypted: give a copy without a password" if "password" in str(error).lower() else f"is a damaged PDF: {error}"
        raise PageError(f"{path} {why}") from error
    with document:
        for number in range(1, len(document) + 1):
            try:
                page = document[number - 1]
                width, height = page.get_size()
                scale = min(PDF_DPI / 72, (MAX_PIXELS / max(width * height, 1.0)) ** 0.5)
                image = page.render(scale=scale, rev_byteorder=False).to_numpy()
                page.close()
            except pypdfium2.PdfiumError as error:
                raise PageError(f"{path}, page {number}, cannot be rendered: {error}") from error
            yield Page(path=path, number=number, image=np.ascontiguousarray(image[:, :, :3]))
