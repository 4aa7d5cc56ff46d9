"""Recognised lines and where they stand to each other: what is right of a label, what is below it, which part of a page."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gpupool_ocr.skew import page_slope, straightened

#: Corners in pixels, from where the text begins round clockwise.
Polygon = tuple[tuple[float, float], ...]
#: Left, top, right, bottom as fractions of the extent of all text on the page.
Region = tuple[float, float, float, float]

#: Longer lines are cut: no field is as long, and the time a pattern takes is bounded by it (see patterns.py).
MAX_LINE_CHARS = 200
#: A line is on the row of another where their middles differ by less than this share of the lower one's height.
SAME_ROW = 0.6
#: What is below a label is at most so many of its heights away.
BELOW_HEIGHTS = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLine:
    """A line as it was recognised, its text in compatibility form (NFKC), so that full-width signs equal half-width ones."""

    polygon: Polygon
    text: str
    #: 0 to 1.
    score: float
    #: The polygon as it would stand if the page lay straight: what is beside and below what is told by it.
    upright: Polygon = ()
    left: float = field(init=False)
    right: float = field(init=False)
    top: float = field(init=False)
    bottom: float = field(init=False)

    def __post_init__(self) -> None:
        upright = self.upright or self.polygon
        object.__setattr__(self, "upright", upright)
        xs, ys = [x for x, _ in upright], [y for _, y in upright]
        for name, value in (("left", min(xs)), ("right", max(xs)), ("top", min(ys)), ("bottom", max(ys))):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, polygon: Iterable[Sequence[float]], text: str, score: float = 1.0) -> TextLine:
        """Return a line of any recogniser's polygon ((n, 2), n >= 3) and text."""
        corners = tuple((float(point[0]), float(point[1])) for point in polygon)
        return cls(polygon=corners, text=unicodedata.normalize("NFKC", text)[:MAX_LINE_CHARS], score=score)

    @property
    def height(self) -> float:
        """Pixels, at least 1."""
        return max(1.0, self.bottom - self.top)

    def middle_at(self, x: float) -> float:
        """Return the height in pixels at which this line, drawn out, passes x: pages lie askew."""
        if len(self.upright) != 4:
            return (self.top + self.bottom) / 2
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = self.upright
        start, end = ((x0 + x3) / 2, (y0 + y3) / 2), ((x1 + x2) / 2, (y1 + y2) / 2)
        run = end[0] - start[0]
        # A line of a character or two says nothing of the slope of the page.
        slope = (end[1] - start[1]) / run if run > 3 * self.height else 0.0
        return start[1] + slope * (x - start[0])

    def part(self, start: int, end: int) -> Polygon:
        """Return where the characters [start, end) stand: a share of the line by their widths, wide ones counting double."""
        if len(self.polygon) != 4 or not self.text:
            return self.polygon
        widths = [2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in self.text]
        total = sum(widths)
        low, high = sum(widths[:start]) / total, sum(widths[:end]) / total
        first, second, third, fourth = self.polygon
        top = _between(first, second, low), _between(first, second, high)
        return *top, _between(fourth, third, high), _between(fourth, third, low)


def _between(one: tuple[float, float], other: tuple[float, float], share: float) -> tuple[float, float]:
    return one[0] + (other[0] - one[0]) * share, one[1] + (other[1] - one[1]) * share


def around(polygons: Sequence[Polygon]) -> Polygon:
    """Return the upright rectangle around polygons, or the polygon itself where it is the only one."""
    if len(polygons) == 1:
        return polygons[0]
    xs = [x for polygon in polygons for x, _ in polygon]
    ys = [y for polygon in polygons for _, y in polygon]
    return ((min(xs), min(ys)), (max(xs), min(ys)), (max(xs), max(ys)), (min(xs), max(ys)))


class Sheet:
    """The lines of one page, in reading order. A page that lies askew is straightened first; polygons stay where they are."""

    def __init__(self, lines: Iterable[TextLine]) -> None:
        self.lines = [line for line in lines if line.text.strip()]
        if slope := page_slope([line.polygon for line in self.lines]):
            self.lines = [replace(line, upright=straightened(line.polygon, slope)) for line in self.lines]
        self.left = min((line.left for line in self.lines), default=0.0)
        self.top = min((line.top for line in self.lines), default=0.0)
        self.width = max((line.right for line in self.lines), default=1.0) - self.left or 1.0
        self.height = max((line.bottom for line in self.lines), default=1.0) - self.top or 1.0

    def inside(self, line: TextLine, region: Region | None) -> bool:
        """Whether the middle of a line is in a region of the page."""
        if region is None:
            return True
        x = ((line.left + line.right) / 2 - self.left) / self.width
        y = ((line.top + line.bottom) / 2 - self.top) / self.height
        return region[0] <= x <= region[2] and region[1] <= y <= region[3]

    def right_of(self, line: TextLine) -> list[TextLine]:
        """Return what stands on the row of `line`, behind it, nearest first."""
        found = [
            other
            for other in self.lines
            if other is not line
            and other.left >= line.left + 0.5 * (line.right - line.left)
            and other.right > line.right
            and self._on_row(line, other)
        ]
        return sorted(found, key=lambda other: other.left)

    def _on_row(self, line: TextLine, other: TextLine) -> bool:
        middle = (other.top + other.bottom) / 2
        return abs(line.middle_at((other.left + other.right) / 2) - middle) < SAME_ROW * min(line.height, other.height)

    def below(self, line: TextLine) -> list[TextLine]:
        """Return what stands under `line` within BELOW_HEIGHTS and shares some of its width, nearest first."""
        found = [
            other
            for other in self.lines
            if other is not line
            and min(other.right, line.right) > max(other.left, line.left)
            and 0 < other.top - line.top - 0.5 * line.height < BELOW_HEIGHTS * line.height
        ]
        return sorted(found, key=lambda other: other.top)
