"""Batches of equal shape, and class indexes to text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_ocr.recognition import (
    HEIGHT,
    MAX_BATCH_WIDTH,
    MIN_WIDTH,
    Reading,
    decode,
    make_batches,
    padded_width,
    scaled_width,
)

CHARACTERS = ["", "a", "b", "c", " "]


@pytest.mark.parametrize(
    ("classes", "text"),
    [([0, 1, 1, 0, 1, 2], "aab"), ([0, 0], ""), ([], ""), ([1, 1, 1], "a"), ([3, 4, 0, 3], "c c"), ([2, 0, 2], "bb")],
)
def test_repeats_count_once_and_blanks_part_them(classes: list[int], text: str) -> None:
    assert decode(np.array(classes, np.int32), np.ones(len(classes), np.float32), CHARACTERS).text == text


def test_the_score_is_the_mean_of_what_is_kept() -> None:
    reading = decode(np.array([0, 1, 1, 2]), np.array([0.1, 0.5, 0.2, 1.0], np.float32), CHARACTERS)
    assert reading == Reading("ab", 0.75)


@given(st.lists(st.integers(0, 4), max_size=30))
def test_decoding_agrees_with_the_definition(classes: list[int]) -> None:
    merged = [index for position, index in enumerate(classes) if position == 0 or classes[position - 1] != index]
    expected = "".join(CHARACTERS[index] for index in merged if index)
    assert decode(np.array(classes, np.int64), np.ones(len(classes)), CHARACTERS).text == expected


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 400)), max_size=40))
def test_every_crop_is_in_one_batch_of_one_padded_width(sizes: list[tuple[int, int]]) -> None:
    crops = [np.full((height, width, 3), 255, np.uint8) for height, width in sizes]
    batches = list(make_batches(crops))
    assert sorted(index for batch in batches for index in batch.indexes) == list(range(len(crops)))
    for batch in batches:
        assert batch.images.shape == (len(batch.indexes), HEIGHT, batch.widths.max(), 3)
        assert {padded_width(scaled_width(crops[index])) for index in batch.indexes} == {batch.width}
        assert len(batch.indexes) == 1 or len(batch.indexes) * batch.width <= MAX_BATCH_WIDTH
        # White crops: what is white is the crop's own width, the rest of the row is blank.
        assert (batch.images.any(axis=(1, 3)).sum(axis=1) == batch.widths).all()


def test_lines_are_padded_to_whole_steps() -> None:
    assert [padded_width(width) for width in (1, 64, 65, 320, 321)] == [MIN_WIDTH, 64, 96, 320, 352]
