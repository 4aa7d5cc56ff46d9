"""A page to lines, with the real models on this host."""

from __future__ import annotations

import numpy as np
import pytest

from gpupool_ocr import samples
from gpupool_ocr.geometry import turn, turn_back
from gpupool_ocr.metrics import character_matches
from gpupool_ocr.pages import load_pages
from gpupool_ocr.pipeline import Pipeline


@pytest.mark.parametrize("name", samples.NAMES)
def test_sample_pages_are_read(pipeline: Pipeline, name: str) -> None:
    (path,) = [path for path in samples.paths() if path.stem == name]
    (page,) = load_pages(path)
    matched, expected, read = character_matches(samples.texts_of(path), [line.text for line in pipeline.read(page.image).lines])
    assert matched / expected >= 0.99
    assert matched / read >= 0.99


def test_a_page_on_its_head_says_the_same_in_the_same_order(pipeline: Pipeline) -> None:
    (page,) = load_pages(samples.paths()[0])
    upright = pipeline.read(page.image).lines
    turned = pipeline.read(turn(page.image)).lines
    matched, expected, _ = character_matches([line.text for line in upright], [line.text for line in turned])
    assert matched / expected >= 0.99
    assert turned[0].text == upright[0].text
    # Where the text begins lies at the bottom right of such a page.
    height, width = page.image.shape[:2]
    assert np.abs(turned[0].quad - turn_back(upright[0].quad, height, width)).max() <= 8


def test_one_line_on_its_head_turns_that_line_only(pipeline: Pipeline) -> None:
    (page,) = load_pages(samples.paths()[0])
    image = page.image.copy()
    image[92:150] = turn(image[92:150])  # the name of the shop
    lines = pipeline.read(image).lines
    assert lines[0].text == "LANTERN HILL GROCERY"
    assert lines[-1].text == "208417 0061 3390"


@pytest.mark.parametrize("shape", [(1, 1), (50, 20_000), (3, 3), (20_000, 10)])
def test_odd_sizes_have_no_text_and_do_no_harm(pipeline: Pipeline, shape: tuple[int, int]) -> None:
    blank = np.full((*shape, 3), 255, np.uint8)
    assert pipeline.read(blank).lines == []
