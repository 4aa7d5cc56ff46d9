"""Boxes: corners in order whatever came in, grown by what DB says, cut out upright, read in order."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_ocr.geometry import cut_out, grow, order_corners, reading_order, turn, turn_back, without_idle_colours

RECTANGLES = st.tuples(st.floats(50, 500), st.floats(50, 500), st.floats(20, 200), st.floats(5, 19), st.floats(-40, 40))


def corners(x: float, y: float, width: float, height: float, angle: float = 0.0) -> np.ndarray:
    return cv2.boxPoints(((x, y), (width, height), angle))


@given(RECTANGLES, st.permutations(range(4)))
def test_corners_start_top_left_and_go_round(rectangle: tuple[float, ...], order: list[int]) -> None:
    quad = order_corners(corners(*rectangle)[order])
    top_left, top_right, bottom_right, bottom_left = quad
    assert top_left[0] < top_right[0]
    assert bottom_left[0] < bottom_right[0]
    assert top_left[1] < bottom_left[1]
    assert top_right[1] < bottom_right[1]


@given(RECTANGLES)
def test_a_box_grows_by_area_times_ratio_over_perimeter(rectangle: tuple[float, ...]) -> None:
    _, _, width, height, _ = rectangle
    grown = grow(order_corners(corners(*rectangle)), 1.6)
    distance = width * height * 1.6 / (2 * (width + height))
    sides = sorted((np.linalg.norm(grown[0] - grown[1]), np.linalg.norm(grown[1] - grown[2])))
    assert sides == pytest.approx(sorted((width + 2 * distance, height + 2 * distance)), rel=1e-3)


def test_a_tilted_line_is_cut_out_upright() -> None:
    page = np.zeros((300, 300, 3), np.uint8)
    box = corners(150, 150, 200, 30, 20)
    cv2.fillPoly(page, [box.astype(np.int32)], (255, 255, 255))
    crop = cut_out(page, order_corners(box))
    assert crop.shape[:2] in {(30, 200), (29, 199), (30, 199), (29, 200)}
    assert crop.mean() > 230


def test_only_pages_without_colour_lose_it() -> None:
    grey = np.repeat(np.random.default_rng(5).integers(0, 256, (40, 60, 1), np.uint8), 3, axis=2)
    assert (without_idle_colours(grey) == grey[..., :1]).all()
    coloured = grey.copy()
    coloured[39, 59, 2] ^= 1
    assert without_idle_colours(coloured) is coloured


@pytest.mark.parametrize("size", [(200, 30), (20, 200), (30, 1)])
def test_grey_pages_give_the_same_crops(size: tuple[int, int]) -> None:
    grey = np.random.default_rng(5).integers(0, 256, (300, 300, 1), np.uint8)
    quad = order_corners(corners(150, 150, *size, 10))
    assert (cut_out(np.repeat(grey, 3, axis=2), quad) == cut_out(grey, quad)).all()


@given(RECTANGLES)
def test_turning_a_page_back_finds_the_corners(rectangle: tuple[float, ...]) -> None:
    quad = order_corners(corners(*rectangle))
    assert np.abs(turn_back(turn_back(quad, 700, 900), 700, 900) - quad).max() < 1e-3
    page = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    assert turn(page)[0, 0, 0] == page[2, 3, 0] == 11


def test_a_vertical_line_is_turned() -> None:
    page = np.zeros((300, 300, 3), np.uint8)
    assert cut_out(page, order_corners(corners(100, 150, 20, 200))).shape[:2] == (20, 200)


def test_lines_are_read_from_top_to_bottom_and_left_to_right() -> None:
    quads = [order_corners(corners(x, y, 80, 20)) for x, y in [(300, 102), (100, 98), (200, 30), (100, 150)]]
    assert reading_order(quads) == [2, 1, 0, 3]
    assert reading_order([]) == []
