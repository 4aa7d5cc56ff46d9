"""How askew a page lies."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from gpupool_ocr.fields.geometry import Sheet, TextLine
from gpupool_ocr.geometry import reading_order
from gpupool_ocr.skew import page_slope, straightened

Corners = tuple[tuple[float, float], ...]


def box(x: float, y: float, width: float = 90, height: float = 20) -> Corners:
    return ((x, y), (x + width, y), (x + width, y + height), (x, y + height))


def turned(quad: Corners, degrees: float) -> Corners:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return tuple((round(x * cos - y * sin), round(x * sin + y * cos)) for x, y in quad)


#: Three rows of four cells, in reading order: on a page 1,100 pixels wide, 7 degrees move a row's end by three rows.
TABLE = [box(40 + 300 * column, 100 + 45 * row) for row in range(3) for column in range(4)]


@pytest.mark.parametrize("degrees", [-12, -3, 0, 4, 9])
def test_the_slope_is_that_of_the_lines_and_turning_back_undoes_it(degrees: float) -> None:
    quads = [turned(quad, degrees) for quad in TABLE]
    slope = page_slope(quads)
    assert slope == pytest.approx(math.tan(math.radians(degrees)), abs=0.012)
    if slope:
        for quad, straight in zip(TABLE, quads, strict=True):
            assert np.abs(np.array(straightened(straight, slope)) - quad).max() < 10


def test_short_lines_and_rounding_say_nothing_of_a_page() -> None:
    assert page_slope([]) == 0.0
    assert page_slope([turned(box(10, 10, width=25), 20)]) == 0.0
    assert page_slope([((0, 0), (900, 4), (900, 34), (0, 30))]) == 0.0
    assert page_slope([((0, 0), (50, 5), (0, 10))]) == 0.0


@pytest.mark.parametrize("degrees", [-8, -2, 0, 2, 8])
def test_a_page_that_lies_askew_is_read_row_by_row(degrees: float) -> None:
    order = list(range(len(TABLE)))
    random.Random(1).shuffle(order)
    quads = [np.array(turned(TABLE[index], degrees), np.float32) for index in order]
    assert [order[index] for index in reading_order(quads)] == list(range(len(TABLE)))


@pytest.mark.parametrize("degrees", [-10, 0, 10])
def test_what_is_beside_and_below_a_label_is_found_on_a_page_that_lies_askew(degrees: float) -> None:
    lines = [TextLine.of(turned(quad, degrees), f"cell {index}") for index, quad in enumerate(TABLE)]
    sheet = Sheet(lines)
    assert [line.text for line in sheet.right_of(sheet.lines[0])] == ["cell 1", "cell 2", "cell 3"]
    assert sheet.below(sheet.lines[1])[0].text == "cell 5"
    assert sheet.lines[0].polygon == lines[0].polygon
