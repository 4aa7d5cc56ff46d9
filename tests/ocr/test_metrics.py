"""Comparison of texts: what counts as the same character, and how many were found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_ocr.metrics import character_matches, normalise


@pytest.mark.parametrize(("text", "same"), [("ＡＢ１２", "ab12"), ("To tal\t8", "total8"), ("￥5", "¥5"), ("Straße", "STRASSE")])
def test_width_case_and_space_do_not_matter(text: str, same: str) -> None:
    assert normalise(text) == normalise(same)


def test_characters_are_matched_once_each() -> None:
    assert character_matches(["aab", "c"], ["abb"]) == (2, 4, 3)


@given(st.lists(st.text(max_size=8), max_size=6), st.lists(st.text(max_size=8), max_size=6))
def test_no_more_is_matched_than_there_is(truth: list[str], read: list[str]) -> None:
    matched, expected, found = character_matches(truth, read)
    assert 0 <= matched <= min(expected, found)
    assert character_matches(truth, truth) == (expected, expected, expected)
