"""Finding text: sizes within limits, maps to boxes, long pages in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_ocr.detection import MAX_WINDOWS, DetectionSettings, Detector, mean_inside, scaled_size, windows

SETTINGS = DetectionSettings()
SIDES = st.integers(1, 30_000)


class Painted:
    """A detector's session that sees text wherever the page is white."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="image")]

    def get_modelmeta(self) -> Any:
        return SimpleNamespace(custom_metadata_map={})

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, np.ndarray]) -> list[Any]:
        image = input_feed["image"]
        self.shapes.append(image.shape)
        return [image[:, None, :, :, 0]]


@given(SIDES, SIDES)
def test_the_detector_sees_whole_strides_within_its_limits(height: int, width: int) -> None:
    seen = scaled_size(height, width, SETTINGS)
    assert all(side % 32 == 0 and side >= 32 for side in seen)
    assert max(seen) <= 2 * SETTINGS.max_side
    if max(height, width) <= SETTINGS.max_side and min(height, width) >= SETTINGS.min_side:
        assert max(abs(seen[0] - height), abs(seen[1] - width)) <= 16


@given(SIDES, SIDES)
def test_small_pictures_are_enlarged_but_not_beyond_what_the_network_knows(height: int, width: int) -> None:
    seen = scaled_size(height, width, SETTINGS)
    assert all(shown <= max(32, SETTINGS.max_enlargement * side + 16) for shown, side in zip(seen, (height, width), strict=True))


def test_a_strip_with_one_line_is_seen_at_a_fraction_of_a_page() -> None:
    assert scaled_size(30, 92, SETTINGS) == (128, 384)  # four times as large, in whole strides
    assert scaled_size(217, 463, SETTINGS) == (736, 1568)


@given(st.integers(1, 10_000_000), st.integers(1, 5_000))
def test_parts_cover_the_page_and_overlap(height: int, width: int) -> None:
    parts = windows(height, width, SETTINGS)
    assert (parts[0][0], parts[-1][1]) == (0, height)
    assert len(parts) <= 1.2 * MAX_WINDOWS
    for (_, bottom), (top, _) in pairwise(parts):
        assert bottom - top >= 0.09 * (parts[0][1] - parts[0][0])


def test_a_blob_becomes_a_box_that_has_grown() -> None:
    page = np.zeros((800, 1000, 3), np.uint8)
    page[100:120, 200:400] = 255
    (box,) = Detector(Painted()).find(page)
    assert box.score > 0.9  # the dilated rim counts too
    distance = 20 * 200 * 1.6 / (2 * 220)
    kernel = np.array([[200, 100], [400, 100], [400, 120], [200, 120]])
    outward = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    assert np.abs(box.quad - (kernel + distance * outward)).max() <= 4


@pytest.mark.parametrize("grey", [76, 120])
def test_faint_blobs_are_no_text(grey: int) -> None:
    page = np.zeros((800, 800, 3), np.uint8)
    page[100:140, 200:400] = grey
    assert Detector(Painted()).find(page) == []


def test_boxes_stay_on_the_page() -> None:
    page = np.full((800, 900, 3), 255, np.uint8)
    (box,) = Detector(Painted()).find(page)
    assert box.quad.tolist() == [[0, 0], [900, 0], [900, 800], [0, 800]]


def test_a_long_page_is_searched_in_parts_and_every_line_found_once() -> None:
    page = np.zeros((9_000, 800, 3), np.uint8)
    tops = list(range(100, 8_900, 60))
    for top in tops:
        cv2.rectangle(page, (100, top), (600, top + 20), (255, 255, 255), -1)
    session = Painted()
    boxes = Detector(session).find(page)
    assert sorted(round(float(box.quad[:, 1].mean()) - 10) for box in boxes) == pytest.approx(tops, abs=3)
    assert len(session.shapes) == len(windows(9_000, 800, SETTINGS)) > 1


@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.integers(1, 60))
def test_the_mean_is_that_of_the_pixels_inside(left: int, top: int, width: int, height: int) -> None:
    grid = np.random.default_rng(1).integers(0, 256, (100, 100), np.uint8)
    right, bottom = min(99, left + width), min(99, top + height)
    quad = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
    assert mean_inside(grid, quad) == pytest.approx(grid[top : bottom + 1, left : right + 1].mean())
