"""Which found box is which labelled one: pairs with an intersection over union of at least 0.5, the best first, each box once.

Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010, 4.2, as ICDAR's robust reading has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_OVERLAP = 0.5
Points = NDArray[np.float32]


def overlap(one: Points, other: Points) -> float:
    """Return the intersection over union of the convex hulls of two polygons ((n, 2) pixels); 0 where one has no area."""
    first, second = (np.asarray(cv2.convexHull(points), np.float32) for points in (one, other))
    areas = cv2.contourArea(first) + cv2.contourArea(second)
    if areas <= 0:
        return 0.0
    both = float(cv2.intersectConvexConvex(first, second)[0])
    return both / (areas - both) if areas > both else 0.0


def match(truth: Sequence[Points], found: Sequence[Points]) -> list[tuple[int, int]]:
    """Return (index in truth, index in found) of the boxes that are the same one."""
    boxes = [(points.min(0), points.max(0)) for points in found]
    pairs: list[tuple[float, int, int]] = []
    for row, points in enumerate(truth):
        low, high = points.min(0), points.max(0)
        for column, (left, right) in enumerate(boxes):
            # Most boxes of a page are nowhere near each other.
            if (left < high).all() and (low < right).all():
                share = overlap(points, found[column])
                if share >= MIN_OVERLAP:
                    pairs.append((share, row, column))
    rows, columns, matched = set(), set(), []
    for _, row, column in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            matched.append((row, column))
    return sorted(matched)
