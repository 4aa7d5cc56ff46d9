"""`gpupool ocr tune` on a few lines: a model that the pipeline takes, and its card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from gpupool_ocr.cli import register
from gpupool_ocr.engine.model_files import load_model
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.models import with_recognizer
from gpupool_ocr.plans.spec import ModelSpec
from gpupool_ocr.recognition import Recognizer
from gpupool_ocr.synthesis.dataset import write
from gpupool_ocr.synthesis.fonts import NoFont
from gpupool_ocr.synthesis.generator import Order, draw
from gpupool_ocr.training.card import fingerprint


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["ocr", *map(str, arguments)])


def pages(folder: Path, kind: str, count: int) -> None:
    try:
        for name, drawn in draw(Order(kinds=(kind,), count=count, seed=2, degradations={"blur": 0.5})):
            write(name, drawn, folder)
    except NoFont as error:
        pytest.skip(str(error))


def test_a_model_and_its_card_from_pages_and_bad_cases(tmp_path: Path) -> None:
    pages(tmp_path / "bad", "meter", 8)
    pages(tmp_path / "data", "plate", 6)
    pages(tmp_path / "others", "serial", 3)
    pages(tmp_path / "replay", "serial", 5)
    assert run("cases", "add", tmp_path / "store", tmp_path / "bad").exit_code == 0
    output = tmp_path / "out" / "mine.onnx"
    done = run(
        *("tune", "--local", "--json", "-o", output, "--data", tmp_path / "data", "--cases", tmp_path / "store"),
        *("--others", tmp_path / "others", "--replay", tmp_path / "replay", "--epochs", 2),
    )
    assert done.exit_code == 0, done.exception
    card = json.loads(done.stdout)
    assert card == json.loads((tmp_path / "out" / "mine.card.json").read_text("utf-8"))
    # 14 pages of a line each: two rounds of ten, the second not full; and 5 replayed.
    assert card["data"] == {"pages": 14, "train_lines": 13, "validation_lines": 4, "test_lines": 2}
    assert card["held_out"]["exact lines"]["before"]["value"] <= 1
    assert card["others"]["lines"] == 3
    model = output.read_bytes()
    assert card["sha256"] == fingerprint(model) != card["base_sha256"]
    recognizer = Recognizer(LocalFactory().open(with_recognizer(model, "mine").recognition))
    assert len(recognizer.characters) == card["classes"]
    # And a service takes it by what the card says.
    spec = ModelSpec(role="recognition", version=card["name"], source=str(output), sha256=card["sha256"])
    assert load_model("recognition", spec).version.startswith("mine@")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-o", "x.bin"], "must end in .onnx"),
        (["-o", "x.onnx"], "0 labelled pages"),
        (["-o", "x.onnx", "--base", "none.onnx"], "none.onnx cannot be read"),
        (["-o", "x.onnx", "--data", "none"], "none is no folder"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], complaint: str) -> None:
    done = run("tune", "--local", *arguments)
    assert done.exit_code != 0
    assert complaint in str(done.exception)
