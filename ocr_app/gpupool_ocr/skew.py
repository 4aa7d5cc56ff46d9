"""How askew a page lies: the slope that most of its text has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

#: A line of a character or two says nothing of the slope of its page: it must be so many times as long as it is high.
MIN_ASPECT = 3.0
#: Less than this (about half a degree) is how boxes are rounded; a page is then taken to lie straight.
MIN_SLOPE = 0.01

Corners = Sequence[Sequence[float]]


def page_slope(quads: Iterable[Corners]) -> float:
    """Return how many pixels text sinks for each to the right, 0 for straight pages: the median, long lines weighing more.

    A quadrilateral has its corners from where the text begins round clockwise. Others, and short ones, are left out.
    """
    slopes: list[tuple[float, float]] = []
    for quad in quads:
        if len(quad) != 4:
            continue
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = quad
        run, rise = (x1 + x2 - x0 - x3) / 2, (y1 + y2 - y0 - y3) / 2
        height = (math.hypot(x3 - x0, y3 - y0) + math.hypot(x2 - x1, y2 - y1)) / 2
        if run > MIN_ASPECT * max(height, 1.0):
            slopes.append((float(rise / run), float(run)))
    slope = _weighted_median(sorted(slopes))
    return slope if abs(slope) >= MIN_SLOPE else 0.0


def _weighted_median(sorted_pairs: Sequence[tuple[float, float]]) -> float:
    half, passed = sum(weight for _, weight in sorted_pairs) / 2, 0.0
    for value, weight in sorted_pairs:
        passed += weight
        if passed >= half:
            return value
    return 0.0


def straightened(quad: Corners, slope: float) -> tuple[tuple[float, float], ...]:
    """Return a polygon turned back by a page's slope, about the origin."""
    length = math.hypot(1.0, slope)
    cos, sin = 1.0 / length, slope / length
    return tuple((x * cos + y * sin, y * cos - x * sin) for x, y in quad)
