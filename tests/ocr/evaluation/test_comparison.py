"""Intervals: of known width on known data, paired, reproducible."""

from __future__ import annotations

import math

import numpy as np

from gpupool_ocr.evaluation.comparison import compare, latency_by_length, length_class
from gpupool_ocr.evaluation.scores import Counts, PageScore


def page(exact: float, of: float = 10, text: str = "", latency_ms: float | None = None) -> PageScore:
    counts = Counts(labelled_boxes=of, exact_lines=exact)
    return PageScore(name="p", counts=counts, texts=(text,), latency_ms=latency_ms)


def figure(pages: list[list[PageScore]], name: str = "exact lines"):  # type: ignore[no-untyped-def]
    return next(found for found in compare(pages) if found.figure == name)


def test_the_interval_is_that_of_the_mean() -> None:
    # 400 pages, half right: the standard error of the mean is 0.025, 1.96 of them each way.
    found = figure([[page(10 * (index % 2)) for index in range(400)]]).versions[0]
    assert found.value == 0.5
    assert abs(found.low - 0.451) < 0.006
    assert abs(found.high - 0.549) < 0.006


def test_what_makes_pages_hard_cancels_out_of_the_difference() -> None:
    hard = np.random.default_rng(1).integers(0, 9, 200)
    found = figure([[page(float(value)) for value in hard], [page(float(value + 1)) for value in hard]])
    assert found.difference is not None
    assert np.allclose((found.difference.value, found.difference.low, found.difference.high), 0.1)
    assert found.is_apart
    # Unpaired, the intervals of the two would overlap.
    assert found.versions[0].high > found.versions[1].low - 0.1


def test_chance_is_not_a_difference() -> None:
    rng = np.random.default_rng(2)
    found = figure([[page(float(value)) for value in rng.integers(0, 10, 60)] for _ in range(2)])
    assert not found.is_apart


def test_the_same_pages_give_the_same_intervals_and_none_give_none() -> None:
    pages = [[page(float(index % 7)) for index in range(20)]]
    assert compare(pages)[0:1] == compare(pages)[0:1] or math.isnan(compare(pages)[0].versions[0].value)
    assert figure(pages) == figure(pages)
    assert math.isnan(figure(pages, "field F1").versions[0].value)


def test_latency_is_told_by_the_length_of_pages() -> None:
    pages = [page(0, text="x" * 5, latency_ms=10), page(0, text="x" * 200, latency_ms=30), page(0, text="x" * 250, latency_ms=50)]
    assert latency_by_length([*pages, page(0)]) == {"0-10": (1, 10, 10), "101-300": (2, 40, 50)}
    assert [length_class(count) for count in (0, 10, 11, 1000, 1001)] == ["0-10", "0-10", "11-100", "301-1000", "over 1000"]
