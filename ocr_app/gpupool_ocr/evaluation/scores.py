"""What is counted of a page, and the figures that sums of counts give.

Every figure is a ratio of sums over pages, so that a long page weighs more than a short one, and a sample of pages is a sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from gpupool_ocr.evaluation.matching import Points, match
from gpupool_ocr.fields.geometry import TextLine
from gpupool_ocr.metrics import character_matches, edit_distance, normalise


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What was counted of one page."""

    labelled_boxes: float = 0
    found_boxes: float = 0
    matched_boxes: float = 0
    labelled_characters: float = 0
    found_characters: float = 0
    matched_characters: float = 0
    #: Sum over labelled lines of 1 - edit distance / the longer length; a line that no box was found for adds 0.
    similarity: float = 0
    exact_lines: float = 0
    labelled_fields: float = 0
    found_fields: float = 0
    right_fields: float = 0

    def as_row(self) -> list[float]:
        """Return the counts in the order of COLUMNS."""
        return [float(getattr(self, name)) for name in COLUMNS]


COLUMNS = tuple(item.name for item in fields(Counts))


@dataclass(frozen=True, kw_only=True, slots=True)
class PageScore:
    """A page: its counts, what it was read as, and how long that took."""

    name: str
    counts: Counts
    texts: tuple[str, ...]
    #: Normal forms by field name; only those that are labelled.
    fields: Mapping[str, str] = field(default_factory=dict)
    latency_ms: float | None = None


#: A sum of counts, or many of them.
Sum = NDArray[np.float64]
Sums = Mapping[str, Sum]


def _ratio(above: str, below: str) -> Callable[[Sums], Sum]:
    def figure(sums: Sums) -> Sum:
        return np.asarray(np.divide(sums[above], sums[below], out=np.full_like(sums[above], np.nan), where=sums[below] > 0))

    return figure


def _harmonic(above: str, one: str, other: str) -> Callable[[Sums], Sum]:
    def figure(sums: Sums) -> Sum:
        both = sums[one] + sums[other]
        # Without a label there is nothing to be right about.
        known = (both > 0) & (sums[one] > 0)
        return np.asarray(np.divide(2 * sums[above], both, out=np.full_like(both, np.nan), where=known))

    return figure


#: Figures by name: sums by column, arrays of any shape, to an array of it; NaN where there is nothing to divide by.
FIGURES: Mapping[str, Callable[[Sums], Sum]] = {
    "detection precision": _ratio("matched_boxes", "found_boxes"),
    "detection recall": _ratio("matched_boxes", "labelled_boxes"),
    "detection hmean": _harmonic("matched_boxes", "labelled_boxes", "found_boxes"),
    "character recall": _ratio("matched_characters", "labelled_characters"),
    "character precision": _ratio("matched_characters", "found_characters"),
    "1-NED": _ratio("similarity", "labelled_boxes"),
    "exact lines": _ratio("exact_lines", "labelled_boxes"),
    "field F1": _harmonic("right_fields", "labelled_fields", "found_fields"),
}


def score_lines(truth: Sequence[TextLine], found: Sequence[TextLine]) -> Counts:
    """Return the counts of a page's lines, its fields left out."""
    pairs = match([_points(line) for line in truth], [_points(line) for line in found])
    alike = [similarity(truth[row].text, found[column].text) for row, column in pairs]
    matched, labelled, read = character_matches((line.text for line in truth), (line.text for line in found))
    return Counts(
        labelled_boxes=len(truth),
        found_boxes=len(found),
        matched_boxes=len(pairs),
        labelled_characters=labelled,
        found_characters=read,
        matched_characters=matched,
        similarity=sum(alike),
        exact_lines=sum(value == 1.0 for value in alike),
    )


def _points(line: TextLine) -> Points:
    return np.array(line.polygon, np.float32)


def similarity(one: str, other: str) -> float:
    """Return 1 - edit distance / the longer length of two normalised texts (1-NED); 1 for two empty ones."""
    first, second = normalise(one), normalise(other)
    longest = max(len(first), len(second))
    return 1.0 - edit_distance(first, second) / longest if longest else 1.0
