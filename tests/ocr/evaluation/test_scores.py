"""What is counted of a page, by hand on small pages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from gpupool_ocr.evaluation.matching import match, overlap
from gpupool_ocr.evaluation.scores import FIGURES, score_lines, similarity
from gpupool_ocr.fields.geometry import TextLine
from gpupool_ocr.metrics import edit_distance


def box(x: float, y: float, width: float = 100, height: float = 20) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float32)


def line(text: str, x: float, y: float, width: float = 100) -> TextLine:
    return TextLine.of(box(x, y, width).tolist(), text)


@given(st.text(max_size=12), st.text(max_size=12))
def test_the_edit_distance_is_levenshteins(one: str, other: str) -> None:
    assert edit_distance(one, other) == Levenshtein.distance(one, other)


def test_overlap_of_boxes_turned_and_level() -> None:
    assert overlap(box(0, 0), box(0, 0)) == pytest.approx(1)
    assert overlap(box(0, 0), box(50, 0)) == pytest.approx(1 / 3)
    assert overlap(box(0, 0), box(300, 0)) == 0
    diamond = np.array([[10, 0], [20, 10], [10, 20], [0, 10]], np.float32)
    assert overlap(diamond, box(0, 0, 20, 20)) == pytest.approx(0.5)
    # The order of corners says nothing, and a line has no area.
    assert overlap(box(0, 0)[[2, 0, 3, 1]], box(0, 0)) == pytest.approx(1)
    assert overlap(box(0, 0, 0, 0), box(0, 0, 0, 0)) == 0


def test_each_box_is_matched_once_and_the_best_first() -> None:
    truth, found = [box(0, 0), box(0, 100)], [box(30, 0), box(5, 0), box(0, 100), box(0, 300)]
    assert match(truth, found) == [(0, 1), (1, 2)]
    assert match([], found) == match(truth, []) == []


def test_a_page_by_hand() -> None:
    truth = [line("Total 9.00", 0, 0), line("发票", 0, 50), line("missed", 0, 100)]
    found = [line("TOTAL 9.00", 2, 1), line("发栗", 0, 50), line("noise", 300, 300)]
    counts = score_lines(truth, found)
    assert (counts.labelled_boxes, counts.found_boxes, counts.matched_boxes) == (3, 3, 2)
    assert (counts.exact_lines, counts.similarity) == (1, 1.5)
    # total9.00 发 and, of "missed" and "noise", i s e: characters count wherever they stand.
    assert (counts.labelled_characters, counts.found_characters, counts.matched_characters) == (17, 16, 13)


def test_figures_are_ratios_of_sums_and_nothing_over_nothing_is_none() -> None:
    sums = {"matched_boxes": np.array([2.0, 0]), "labelled_boxes": np.array([4.0, 0]), "found_boxes": np.array([2.0, 3])}
    assert FIGURES["detection precision"](sums).tolist() == [1, 0]
    recall, hmean = FIGURES["detection recall"](sums), FIGURES["detection hmean"](sums)
    assert (recall[0], hmean[0]) == (0.5, pytest.approx(2 / 3))
    assert np.isnan([recall[1], hmean[1]]).all()


def test_similarity_is_of_normalised_texts() -> None:
    assert similarity("ＡＢ c", "abC") == 1
    assert similarity("", "") == 1
    assert similarity("abcd", "") == 0
    assert similarity("abcd", "abxd") == 0.75
