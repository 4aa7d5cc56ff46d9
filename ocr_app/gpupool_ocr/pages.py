"""Files to pages: images of every common kind and PDFs become BGR arrays, one page at a time.

A 500-page PDF is rendered as it is read, never held whole. Whatever is wrong with a file becomes one PageError that names it.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpupool_wire.errors import UsageError

Image = NDArray[np.uint8]

#: What Pillow may open. Others it knows are no pages, or start programs (EPS starts Ghostscript).
FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "AVIF")
#: PDFium may be entered by one thread at a time, whatever the documents.
_PDFIUM = threading.Lock()
#: What is looked for in folders. A file that is named itself may be called anything: its content decides.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".pbm", ".pgm", ".ppm", ".jp2", ".avif"}
)
PDF_SUFFIX = ".pdf"
#: A page of A0 at 200 dpi has 62 million pixels; more is a decompression bomb or a map, and neither is a page.
MAX_PIXELS = 100_000_000
#: What Pillow's readers raise on damaged files, by what fuzzing them brought up.
_DAMAGE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, RuntimeError, MemoryError),
    *(struct.error, zlib.error),
)
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
    #: How many pages its file has.
    count: int
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


@dataclass(frozen=True, slots=True)
class Source:
    """A file on disk, or one that came over the network: then `content` is all of it, and `path` what its sender calls it."""

    path: Path
    content: bytes | None = None

    def __str__(self) -> str:
        return str(self.path)

    def head(self, count: int) -> bytes:
        """Return the first bytes."""
        if self.content is not None:
            return self.content[:count]
        with self.path.open("rb") as file:
            return file.read(count)

    def opened(self) -> Path | io.BytesIO:
        """Return what Pillow and PDFium open."""
        return self.path if self.content is None else io.BytesIO(self.content)


def load_pages(path: Path, content: bytes | None = None) -> Iterator[Page]:
    """Yield the pages of a file, or of `content`; raise PageError where it is not an image or PDF that can be read."""
    source = Source(path, content)
    if _is_pdf(source):
        yield from _pdf_pages(source)
    else:
        yield from _image_pages(source)


def count_pages(path: Path) -> int:
    """Return how many pages a file has, for a progress bar: 1 for a file that cannot be read."""
    try:
        source = Source(path)
        if _is_pdf(source):
            with _open_pdf(source) as document, _PDFIUM:
                return len(document)
        with warnings.catch_warnings(), _open_image(source) as opened:
            return _frames(opened)
    except (PageError, *_DAMAGE):
        return 1


def _is_pdf(source: Source) -> bool:
    """Look at the content, not the name: PDFs may have up to a kilobyte before their header."""
    head = source.head(1024)
    if not head:
        raise PageError(f"{source} is empty (0 bytes)")
    return b"%PDF-" in head


def _image_pages(source: Source) -> Iterator[Page]:
    """Yield an image, or every image of a TIFF file, which is how scanners and fax machines keep several pages."""
    from PIL import ImageOps

    number, count = 1, 1
    while number <= count:
        # Opened anew for every page: nothing stays open, and no warning filter stays set, while the page is being read.
        with warnings.catch_warnings(), _open_image(source) as opened:
            try:
                count = _frames(opened)
                opened.seek(number - 1)
                _check_size(source, opened)
                image = _to_bgr(ImageOps.exif_transpose(opened))
            except PageError:
                raise
            except _DAMAGE as error:
                raise PageError(f"{source} is damaged: {error}") from error
        yield Page(path=source.path, number=number, count=count, image=image)
        number += 1


def _open_image(source: Source) -> Any:  # noqa: ANN401 - Pillow's class is imported lazily
    """Return Pillow's image, not read yet. Call it with warnings caught: Pillow's become PageErrors of ours, or nothing."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    warnings.simplefilter("ignore")
    Pillow.init()  # formats that no plugin has registered yet would be a KeyError
    known = [name for name in FORMATS if name in Pillow.OPEN]
    try:
        return Pillow.open(source.opened(), formats=known)
    except UnidentifiedImageError as error:
        raise PageError(f"{source} is not an image or PDF") from error
    except Pillow.DecompressionBombError as error:
        raise PageError(f"{source} unpacks to more than {MAX_PIXELS} pixels") from error
    except _DAMAGE as error:
        raise PageError(f"{source} is damaged: {error}") from error


def _frames(opened: Any) -> int:  # noqa: ANN401 - Pillow's class is imported lazily
    """Return how many pages an image holds. Frames of an animation are no pages: the first stands for it."""
    return int(getattr(opened, "n_frames", 1)) if opened.format == "TIFF" else 1


def _check_size(source: Source, opened: Any) -> None:  # noqa: ANN401 - Pillow's class is imported lazily
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise PageError(f"{source} has {width}x{height} pixels; the limit is {MAX_PIXELS} in all")


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


@contextmanager
def _open_pdf(source: Source) -> Iterator[Any]:
    import pypdfium2

    with _PDFIUM:
        try:
            document = pypdfium2.PdfDocument(source.opened())
            if document.get_formtype():
                document.init_forms()  # else what was filled in is not drawn
        except pypdfium2.PdfiumError as error:
            encrypted = "password" in str(error).lower()
            why = "is encrypted: give a copy without a password" if encrypted else f"is a damaged PDF: {error}"
            raise PageError(f"{source} {why}") from error
    try:
        yield document
    finally:
        with _PDFIUM:
            document.close()


def _pdf_pages(source: Source) -> Iterator[Page]:
    with _open_pdf(source) as document:
        with _PDFIUM:
            count = len(document)
        for number in range(1, count + 1):
            yield Page(path=source.path, number=number, count=count, image=_render(source, document, number))


def _render(source: Source, document: Any, number: int) -> Image:  # noqa: ANN401 - pypdfium2 has no types
    import pypdfium2

    try:
        with _PDFIUM:
            page = document[number - 1]
            width, height = page.get_size()
            scale = min(PDF_DPI / 72, (MAX_PIXELS / max(width * height, 1.0)) ** 0.5)
            bitmap = page.render(scale=scale, rev_byteorder=False)
            image = _three_channels(bitmap.to_numpy().copy())  # the bitmap's memory goes with it
            bitmap.close()
            page.close()
    except pypdfium2.PdfiumError as error:
        raise PageError(f"{source}, page {number}, cannot be rendered: {error}") from error
    return image


def _three_channels(image: NDArray[np.uint8]) -> Image:
    """Return a rendered page as BGR: PDFium draws grey pages with one channel, and some with a fourth that is not used."""
    if image.ndim == 2 or image.shape[2] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(image[:, :, :3])
