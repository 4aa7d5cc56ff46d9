"""Figures with confidence intervals, of one version and of the difference between two: the bootstrap over pages.

Pages are drawn with replacement, the same ones for both versions, so what makes a page hard cancels out of the difference.
Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, percentile intervals (chapter 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpupool_ocr.evaluation.scores import COLUMNS, FIGURES, PageScore

DRAWS = 2000
#: A 95 % interval.
_TAILS = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % interval; NaN where no page has what it is about."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A figure of one or two versions."""

    figure: str
    versions: tuple[Interval, ...]
    #: The second less the first; None for one version.
    difference: Interval | None

    @property
    def is_apart(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        return self.difference is not None and not self.difference.low <= 0 <= self.difference.high


def compare(versions: Sequence[Sequence[PageScore]], seed: int = 0) -> list[Comparison]:
    """Return every figure of one or two versions over the same pages, in their order."""
    tables = [np.array([page.counts.as_row() for page in pages]) for pages in versions]
    count = len(tables[0])
    # How often each page is drawn, (DRAWS, pages).
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), DRAWS).astype(np.float64)
    found = []
    for figure in FIGURES:
        values = [_figure(figure, table.sum(0)[None])[0] for table in tables]
        drawn = [_figure(figure, weights @ table) for table in tables]
        difference = _interval(values[1] - values[0], drawn[1] - drawn[0]) if len(tables) == 2 else None
        intervals = tuple(_interval(value, draws) for value, draws in zip(values, drawn, strict=True))
        found.append(Comparison(figure=figure, versions=intervals, difference=difference))
    return found


def _figure(name: str, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a figure of sums (n, columns) as (n,)."""
    return FIGURES[name]({column: sums[:, index] for index, column in enumerate(COLUMNS)})


def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
    known = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not known.size:
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.percentile(known, _TAILS)
    return Interval(float(value), float(low), float(high))


#: Upper ends of the classes of pages by their number of characters.
_CLASSES = (10, 100, 300, 1000)


def latency_by_length(pages: Sequence[PageScore]) -> dict[str, tuple[int, float, float]]:
    """Return pages, median and worst milliseconds by the number of characters read, of pages that were timed."""
    by_class: dict[str, list[float]] = {}
    for page in pages:
        if page.latency_ms is not None:
            by_class.setdefault(length_class(sum(map(len, page.texts))), []).append(page.latency_ms)
    return {
        name: (len(by_class[name]), float(np.median(by_class[name])), max(by_class[name])) for name in _NAMES if name in by_class
    }


_NAMES = [f"{low + 1 if low else 0}-{high}" for low, high in zip((0, *_CLASSES), _CLASSES, strict=False)] + [
    f"over {_CLASSES[-1]}"
]


def length_class(characters: int) -> str:
    """Return the name of the class that a page of so many characters belongs to."""
    return next((name for name, high in zip(_NAMES, _CLASSES, strict=False) if characters <= high), _NAMES[-1])
