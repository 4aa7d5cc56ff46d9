"""Plans carried out with the real models: they read what the pipeline reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import onnx
import pytest
from onnx import TensorProto, helper

from gpupool_ocr import samples
from gpupool_ocr.engine.lanes import Lanes
from gpupool_ocr.engine.model_files import ModelError, load_model
from gpupool_ocr.engine.release import Workshop
from gpupool_ocr.engine.running import PageReading, read_page
from gpupool_ocr.geometry import turn
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.pages import Image, load_pages
from gpupool_ocr.pipeline import Line, Pipeline
from gpupool_ocr.plans.reading import default_snapshot, read_snapshot, write_snapshot
from gpupool_ocr.plans.spec import ModelSpec, PlanSpec, PluginSpec, StepSpec
from gpupool_ocr.plugins.process import PluginCrashed


@pytest.fixture(scope="module")
def device() -> Iterator[Lanes]:
    lanes = Lanes("gpu", 2)
    yield lanes
    lanes.close()


@pytest.fixture(scope="module")
def workshop(device: Lanes) -> Iterator[Workshop]:
    workshop = Workshop(gpu=LocalFactory(), host=LocalFactory(), device=device, cores=device)
    yield workshop
    workshop.close()


@pytest.fixture(scope="module")
def ticket() -> Image:
    return next(load_pages(samples.paths()[1])).image


def said(lines: list[Line]) -> list[tuple[str, list[list[float]]]]:
    return [(line.text, line.quad.tolist()) for line in lines]


def read(workshop: Workshop, image: Image, yaml: str | None = None) -> PageReading:
    release = workshop.build(1, read_snapshot(yaml) if yaml else default_snapshot())
    try:
        return read_page(release.plan("any", "text"), image, number=0)
    finally:
        workshop.retire(release.key)


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_default_plan_reads_what_the_pipeline_reads(
    workshop: Workshop, pipeline: Pipeline, ticket: Image, is_turned: bool
) -> None:
    image = turn(ticket) if is_turned else ticket
    reading = read(workshop, image)
    assert said(reading.work.lines) == said(pipeline.read(image).lines)
    assert reading.work.is_turned is is_turned
    assert set(reading.timings_s) == {"detect", "recognize", "orient", "reread", "order", "total"}


def test_calls_that_travel_together_read_the_same(workshop: Workshop, pipeline: Pipeline, ticket: Image) -> None:
    yaml = write_snapshot(default_snapshot()).replace(
        "use: recognize\n", "use: recognize\n        batch: 8\n        replicas: 1\n"
    )
    assert [text for text, _ in said(read(workshop, ticket, yaml).work.lines)] == [
        line.text for line in pipeline.read(ticket).lines
    ]


def test_weights_are_opened_once_and_closed_behind_the_last_release(workshop: Workshop) -> None:
    one, two = (workshop.build(number, default_snapshot()) for number in (1, 2))
    assert [len(holders) for holders in workshop.parts.values()] == [2, 2, 2]
    workshop.retire(one.key)
    workshop.retire(two.key)
    assert workshop.parts == {}


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_plugin_that_dies_fails_the_page_or_leaves_a_word(
    workshop: Workshop, ticket: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    (tmp_path / "deadplug.py").write_text("import os\n\ndef die(page):\n    os._exit(7)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    snapshot = default_snapshot()
    steps = {**snapshot.plans["text"].steps, "stamp": StepSpec(use="plugin", plugin="stamp", on_error=on_error)}  # type: ignore[arg-type]
    plugins = {"stamp": PluginSpec(call="deadplug:die")}
    yaml = write_snapshot(msgspec.structs.replace(snapshot, plugins=plugins, plans={"text": PlanSpec(steps=steps)}))
    if on_error == "fail":
        with pytest.raises(PluginCrashed, match="'stamp' 1 ended with status 7"):
            read(workshop, ticket, yaml)
        return
    work = read(workshop, ticket, yaml).work
    assert len(work.lines) > 10
    assert work.problems == ["stamp: the process of plug-in 'stamp' 1 ended with status 7 in the middle of a call"]


def recogniser(path: Path, classes: int, characters: str | None) -> ModelSpec:
    shape: list[int | str] = ["N", "T", classes]
    node = helper.make_node("Identity", ["x"], ["y"])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 48, "W"])]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    if characters is not None:
        helper.set_model_props(model, {"character": characters})
    onnx.save(model, str(path))
    return ModelSpec(role="recognition", source=str(path))


def test_a_model_whose_classes_do_not_fit_its_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="9 classes, but 5 characters"):
        load_model("r", recogniser(tmp_path / "a.onnx", 9, "a\nb\nc"))
    with pytest.raises(ModelError, match="does not say its characters"):
        load_model("r", recogniser(tmp_path / "b.onnx", 9, None))
    assert load_model("r", recogniser(tmp_path / "c.onnx", 5, "a\nb\nc")).version.startswith("1@")


def test_a_file_that_is_no_model_or_another_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="no ONNX model"):
        load_model("x", ModelSpec(role="detection", source=str(tmp_path / "x.onnx")))
    with pytest.raises(ModelError, match="the snapshot wants 0000"):
        load_model("d", ModelSpec(role="detection", sha256="0" * 64))
