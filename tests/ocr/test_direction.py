"""Which way up: lines of a page, and the same lines turned."""

from __future__ import annotations

from gpupool_ocr import samples
from gpupool_ocr.direction import MAX_BATCH
from gpupool_ocr.geometry import cut_out, turn
from gpupool_ocr.pages import load_pages
from gpupool_ocr.pipeline import Pipeline


def test_long_lines_are_told_from_those_on_their_head(pipeline: Pipeline) -> None:
    (page,) = load_pages(samples.paths()[0])
    quads = [box.quad for box in pipeline.detector.find(page.image)]
    crops = [crop for crop in (cut_out(page.image, quad) for quad in quads) if crop.shape[1] > 4 * crop.shape[0]]
    assert len(crops) >= 10
    assert sum(pipeline.direction.upside_down(crops)) == 0
    assert sum(pipeline.direction.upside_down([turn(crop) for crop in crops])) >= 0.9 * len(crops)


def test_many_lines_of_any_width_are_answered_one_by_one(pipeline: Pipeline) -> None:
    (page,) = load_pages(samples.paths()[0])
    quads = [box.quad for box in pipeline.detector.find(page.image)]
    crops = [cut_out(page.image, quad) for quad in quads]
    mixed = [turn(crop) if index % 2 else crop for index, crop in enumerate(crops)]
    assert len(mixed) > MAX_BATCH
    assert pipeline.direction.upside_down(mixed) == [pipeline.direction.upside_down([crop])[0] for crop in mixed]


def test_no_lines_need_no_answer(pipeline: Pipeline) -> None:
    assert pipeline.direction.upside_down([]) == []
