"""Before a release gets a page of anybody's, it reads golden samples: that warms it, and shows what it is worth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gpupool_ocr.engine.documents import read_document
from gpupool_ocr.engine.release import Release
from gpupool_ocr.metrics import character_matches
from gpupool_ocr.plans.spec import GoldenSpec
from gpupool_wire.errors import GpupoolError, UsageError

#: Reading them all must not take minutes.
MAX_SAMPLES = 16
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"}


class NotGoodEnough(UsageError):
    """The release reads its golden samples worse than it must."""

    code = "golden"


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """How well a release read the samples."""

    #: By (bid, tid): characters found of those there are.
    recall: dict[str, float]
    samples: int


def golden_samples(spec: GoldenSpec) -> list[tuple[Path, list[str]]]:
    """Return images with their lines of text. Raises UsageError where there are none."""
    folder = Path(str(files("gpupool_ocr") / "sample_pages")) if spec.samples == "packaged" else Path(spec.samples)
    found = sorted(path for path in folder.glob("*.json") if _image_of(path))[:MAX_SAMPLES] if folder.is_dir() else []
    if not found:
        raise UsageError(f"{folder} holds no golden samples: an image and a JSON file of the same name, {{'lines': [text, ...]}}")
    return [(image, _truth(path)) for path in found if (image := _image_of(path))]


def _image_of(path: Path) -> Path | None:
    return next(
        (image for image in path.parent.glob(f"{path.stem}.*") if image.suffix.lower() in {".png", ".jpg", ".jpeg", ".tif"}), None
    )


def _truth(path: Path) -> list[str]:
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))["lines"]
        return [line["text"] if isinstance(line, dict) else str(line) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no golden truth: {error}") from error


def prove(release: Release) -> Proof:
    """Return how well every plan of a release reads the samples. Raises NotGoodEnough, and whatever reading them raises."""
    spec = release.snapshot.golden
    samples = golden_samples(spec)
    recall: dict[str, float] = {}
    for (bid, tid), plan in release.plans.items():
        matched = expected = 0
        for image, truth in samples:
            try:
                pages = list(read_document(plan, image.name, image.read_bytes()))
            except GpupoolError as error:
                raise NotGoodEnough(f"algorithm {bid}/{tid} fails on golden sample {image.name}: {error.message}") from error
            read = [line.text for page in pages for line in page.reading.work.lines]
            found, there, _ = character_matches(truth, read)
            matched, expected = matched + found, expected + there
        recall[f"{bid}/{tid}"] = round(matched / max(expected, 1), 4)
    worst = min(recall, key=recall.__getitem__)
    if recall[worst] < spec.min_recall:
        raise NotGoodEnough(
            f"algorithm {worst} finds {recall[worst]:.4f} of the characters of {len(samples)} golden samples; "
            f"{spec.min_recall} are needed"
        )
    return Proof(recall=recall, samples=len(samples))
