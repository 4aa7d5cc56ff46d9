"""A page to lines, with the real models on this host."""

from __future__ import annotations

import numpy as np
import pytest

from gpupool_ocr import samples
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


def test_a_page_on_its_head_is_read_all_the_same(pipeline: Pipeline) -> None:
    path = samples.paths()[0]
    (page,) = load_pages(path)
    turned = np.ascontiguousarray(page.image[::-1, ::-1])
    matched, expected, _ = character_matches(samples.texts_of(path), [line.text for line in pipeline.read(turned).lines])
    assert matched / expected >= 0.9


@pytest.mark.parametrize("shape", [(1, 1), (50, 20_000), (3, 3), (20_000, 10)])
def test_odd_sizes_have_no_text_and_do_no_harm(pipeline: Pipeline, shape: tuple[int, int]) -> None:
    blank = np.full((*shape, 3), 255, np.uint8)
    assert pipeline.read(blank).lines == []
