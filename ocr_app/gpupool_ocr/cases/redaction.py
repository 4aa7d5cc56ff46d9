"""Taking chosen fields out of a page before it is kept: out of the picture, the lines and the fields."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import cv2
import numpy as np

from gpupool_ocr.evaluation.matching import Points
from gpupool_ocr.pages import Image
from gpupool_wire.errors import UsageError

BLACKED = "█"
#: Pixels around a field that are blacked out with it: polygons of parts of lines are estimates.
MARGIN = 4
#: Farther than any page is wide (pixels).
_FAR = 1e6


class Redacted(UsageError):
    """What was taken out of a page does not come back with its labels."""

    code = "redacted"


def can_redact(result: Mapping[str, Any], names: Collection[str] = ()) -> bool:
    """Whether it is known where the fields called `names` are.

    Of a page that nobody understood nothing can be taken out, nor of one where a field that must be there was not found.
    """
    is_understood = isinstance(result.get("fields"), Mapping) and result.get("type", "unknown") != "unknown"
    return is_understood and not set(names) & set(result.get("missing", ()))


def redacted(image: Image | None, result: Mapping[str, Any], names: Collection[str]) -> tuple[Image | None, dict[str, Any]]:
    """Return picture (uint8, (H, W, 3)) and result without the fields called `names`.

    A line that a field touches is blacked out as a whole in the text, and the field's own part of it in the picture.
    """
    fields = {name: dict(value) for name, value in result.get("fields", {}).items()}
    areas = [_points(fields[name]["polygon"]) for name in names if name in fields]
    for name in names:
        if name in fields:
            fields[name] |= {"value": BLACKED, "normalised": BLACKED}
    lines = [
        {**line, "text": BLACKED * len(line["text"])} if any(_touch(_points(line["polygon"]), area) for area in areas) else line
        for line in result.get("lines", [])
    ]
    if image is not None and areas:
        image = image.copy()
        for area in areas:
            cv2.fillPoly(image, [area.astype(np.int32)], (0, 0, 0))
            cv2.polylines(image, [area.astype(np.int32)], True, (0, 0, 0), 2 * MARGIN)
    # Checks, identity and what it repeats tell values of fields, too.
    kept = {key: value for key, value in result.items() if key not in {"checks", "identity", "duplicate_of"}}
    return image, {**kept, "fields": fields, "lines": lines}


def is_blacked(line: Mapping[str, Any]) -> bool:
    """Whether the text of a line was taken out."""
    text = line.get("text", "")
    return bool(text) and set(text) == {BLACKED}


def blacked_fields(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a kept page that were taken out, by name, each with its polygon."""
    found = result.get("fields")
    fields = found.items() if isinstance(found, Mapping) else ()
    return {name: field for name, field in fields if isinstance(field, Mapping) and field.get("value") == BLACKED}


def check_labels(labels: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Raise Redacted where labels (see synthesis/dataset.py) say again what was taken out of a page's result."""
    out = blacked_fields(result)
    for name in labels.get("fields") or {}:
        if name in out:
            raise Redacted(f"field {name!r} is taken out of this page: leave it out of its labels")
    areas = [_points(field["polygon"]) for field in out.values()]
    for line in labels["lines"]:
        if any(_touch(_points(line["polygon"]), area) for area in areas):
            raise Redacted(f"the line {line['text'][:40]!r} lies where a field is taken out of this page: leave it out")


def _points(polygon: Any) -> Points:  # noqa: ANN401 - JSON
    # Labels come from outside: OpenCV gives up on what does not fit its floats.
    return np.clip(np.array(polygon, np.float64), -_FAR, _FAR).astype(np.float32).reshape(-1, 2)


def _touch(one: Points, other: Points) -> bool:
    return bool(cv2.intersectConvexConvex(cv2.convexHull(one), cv2.convexHull(other))[0] > 0)
