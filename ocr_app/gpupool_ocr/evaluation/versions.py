"""Versions that can be evaluated: the packaged models, the same with another recogniser, or what was read before.

NAME=packaged             the models of this package
NAME=PATH.onnx            the same with this recogniser (`gpupool ocr tune` writes one)
NAME=rapidocr             RapidOCR with its defaults, in this process: a reference that is given the same picture
NAME=PATH.jsonl           the output of `gpupool ocr --json`, of any program or day
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpupool_ocr.fields.geometry import TextLine
from gpupool_ocr.models import packaged_models, with_recognizer
from gpupool_ocr.pages import Image, load_pages
from gpupool_ocr.pipeline import Pipeline
from gpupool_ocr.sessions import SessionFactory
from gpupool_ocr.synthesis.dataset import Example
from gpupool_wire.errors import UsageError

PACKAGED = "packaged"
RAPIDOCR = "rapidocr"


class BadVersion(UsageError):
    """A version cannot be evaluated."""

    code = "bad_version"


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What a version made of a page, and how long that took, where it is known."""

    lines: list[TextLine]
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Version:
    """A version by its name."""

    name: str
    read: Callable[[Example], Read]


def parse_version(text: str) -> tuple[str, str]:
    """Return name and source of NAME=SOURCE, or of a source alone, which then is its own name."""
    name, is_named, source = text.partition("=")
    return (name, source) if is_named else (Path(text).stem if "." in text else text, text)


def open_version(text: str, factory: Callable[[], SessionFactory]) -> Version:
    """Return a version; `factory` is asked for sessions where models are to be opened. Raises BadVersion."""
    name, source = parse_version(text)
    path = Path(source)
    if source == RAPIDOCR:
        return Version(name, _timed(_rapidocr()))
    if source != PACKAGED and not path.is_file():
        raise BadVersion(f"version {text!r}: {source} is neither `{PACKAGED}`, `{RAPIDOCR}` nor a file")
    if path.suffix == ".jsonl":
        return Version(name, _recorded(path))
    models = packaged_models() if source == PACKAGED else with_recognizer(path.read_bytes(), source)
    return Version(name, _timed(_pipeline(Pipeline(factory(), models))))


def _timed(lines_of: Callable[[Image], list[TextLine]]) -> Callable[[Example], Read]:
    """Return a reader of labelled pages; the time is that of reading alone, decoding the file left out."""

    def read(example: Example) -> Read:
        image = next(load_pages(example.image)).image
        example.check_size(image.shape[1], image.shape[0])
        start = time.perf_counter()
        lines = lines_of(image)
        return Read(lines=lines, latency_ms=1000 * (time.perf_counter() - start))

    return read


def _pipeline(pipeline: Pipeline) -> Callable[[Image], list[TextLine]]:
    return lambda image: [TextLine.of(line.quad.tolist(), line.text, line.score) for line in pipeline.read(image).lines]


def _rapidocr() -> Callable[[Image], list[TextLine]]:
    from rapidocr import RapidOCR

    engine = RapidOCR()

    def lines(image: Image) -> list[TextLine]:
        found = engine(image)
        if found.boxes is None:
            return []
        return [
            TextLine.of(box, text, float(score))
            for box, text, score in zip(found.boxes.tolist(), found.txts, found.scores, strict=True)
        ]

    return lines


def _recorded(path: Path) -> Callable[[Example], Read]:
    """Return a reader of recorded pages, which are known by the names of their files."""
    try:
        found = [json.loads(row) for row in path.read_text("utf-8").splitlines()]
        # Of a file with several pages the first is taken, as everywhere here.
        pages: dict[str, dict[str, Any]] = {Path(page["path"]).name: page for page in reversed(found)}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadVersion(f"{path} does not hold pages as `gpupool ocr --json` writes them: {error!r}") from error

    def read(example: Example) -> Read:
        page = pages.get(example.image.name)
        if page is None:
            raise BadVersion(f"{path} holds no page called {example.image.name}")
        try:
            lines = [TextLine.of(line["polygon"], line["text"], float(line.get("score", 1.0))) for line in page["lines"]]
            spent = page.get("timings_ms", {}).get("total")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadVersion(
                f"{path}: the page {example.image.name} is not as `gpupool ocr --json` writes it: {error}"
            ) from error
        return Read(lines=lines, latency_ms=spent)

    return read
