"""Taking chosen fields out of a page before it is kept: out of the picture, the lines and the fields."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import cv2
import numpy as np

from gpupool_ocr.evaluation.matching import Points
from gpupool_ocr.pages import Image

BLACKED = "█"
#: Pixels around a field that are blacked out with it: polygons of parts of lines are estimates.
MARGIN = 4


def can_redact(result: Mapping[str, Any]) -> bool:
    """Whether it is known where the fields of a page are: of a page that nobody understood, nothing can be taken out."""
    return isinstance(result.get("fields"), Mapping) and result.get("type", "unknown") != "unknown"


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


def _points(polygon: Any) -> Points:  # noqa: ANN401 - JSON
    return np.array(polygon, np.float32).reshape(-1, 2)


def _touch(one: Points, other: Points) -> bool:
    return bool(cv2.intersectConvexConvex(cv2.convexHull(one), cv2.convexHull(other))[0] > 0)
