"""`gpupool ocr eval`: table, JSON, HTML; versions that cannot be are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest
import typer
from typer.testing import CliRunner, Result

from gpupool_ocr import samples
from gpupool_ocr.cli import register
from gpupool_ocr.models import RECOGNITION, BadRecognizer, with_recognizer


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pages with the boxes and texts that two recorded versions have, or nearly."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows: dict[str, list[str]] = {"old": [], "new": []}
    for number, path in enumerate(samples.paths()[:2]):
        shutil.copy(path, folder)
        polygon = [[0, 0], [100, 0], [100, 20], [0, 20]]
        (folder / f"{path.stem}.json").write_text(json.dumps({"lines": [{"polygon": polygon, "text": "<b>TOTAL</b>"}]}))
        for name, text in (("old", "T0TAL" if number else "<b>TOTAL</b>"), ("new", "<b>TOTAL</b>")):
            line = {"polygon": polygon, "text": text, "score": 0.9}
            rows[name].append(
                json.dumps({"path": f"/elsewhere/{path.name}", "page": 1, "lines": [line], "timings_ms": {"total": 7}})
            )
    for name, lines in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["ocr", "eval", *map(str, arguments)])


def test_two_recorded_versions_side_by_side(data: Path, tmp_path: Path) -> None:
    html = tmp_path / "out.html"
    done = run(data, "--version", tmp_path / "old.jsonl", "--version", tmp_path / "new.jsonl", "--json", "--html", html)
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert (found["pages"], found["versions"]) == (2, ["old", "new"])
    exact = found["figures"]["exact lines"]
    assert [version["value"] for version in exact["versions"]] == [0.5, 1.0]
    assert exact["difference"]["value"] == 0.5
    assert found["figures"]["field F1"]["versions"] == [None, None]
    assert [page["page"] for page in found["differing"]] == [samples.paths()[1].name]
    assert found["latency"]["new"]["11-100"] == {"pages": 2, "median_ms": 7, "worst_ms": 7}
    page = html.read_text("utf-8")
    assert "&lt;b&gt;TOTAL" in page
    assert "<b>TOTAL" not in page
    assert "<script" not in page
    assert "http" not in page


def test_a_table_for_people(data: Path, tmp_path: Path) -> None:
    done = run(data, "--version", f"a={tmp_path / 'old.jsonl'}", "--version", f"b={tmp_path / 'new.jsonl'}")
    assert "1 pages are read differently: train_ticket.png" in done.stdout
    assert [line.split()[:3] for line in done.stdout.splitlines() if line.startswith("exact")] == [["exact", "lines", "0.5000"]]


def test_models_are_run_on_labelled_pages(tmp_path: Path) -> None:
    from gpupool_ocr.synthesis.dataset import write
    from gpupool_ocr.synthesis.fonts import NoFont
    from gpupool_ocr.synthesis.generator import Order, draw

    try:
        for name, drawn in draw(Order(kinds=("train_ticket",), count=1, seed=3)):
            write(name, drawn, tmp_path)
    except NoFont as error:
        pytest.skip(str(error))
    figures = json.loads(run(tmp_path, "--local", "--json").stdout)["figures"]
    assert figures["detection recall"]["versions"][0]["value"] > 0.8
    assert figures["character recall"]["versions"][0]["value"] > 0.95
    assert figures["field F1"]["versions"][0]["value"] > 0.9


def test_rapidocr_reads_the_same_pages_beside_the_packaged_models(tmp_path: Path) -> None:
    page = samples.paths()[0]
    shutil.copy(page, tmp_path)
    polygon = [[0, 0], [9, 0], [9, 9], [0, 9]]
    lines = [{"polygon": polygon, "text": text} for text in samples.texts_of(page)]
    (tmp_path / f"{page.stem}.json").write_text(json.dumps({"lines": lines}))
    found = json.loads(run(tmp_path, "--local", "--version", "rapidocr", "--version", "packaged", "--json").stdout)
    assert found["versions"] == ["rapidocr", "packaged"]
    theirs, ours = (version["value"] for version in found["figures"]["character recall"]["versions"])
    assert theirs > 0.9
    assert ours > 0.9
    assert set(found["latency"]) == {"rapidocr", "packaged"}


@pytest.mark.parametrize(
    ("versions", "complaint"),
    [
        (["none.onnx"], "neither `packaged`, `rapidocr` nor a file"),
        (["packaged", "packaged"], "different names"),
        (["a=packaged", "b=packaged", "c=packaged"], "give one, or two"),
    ],
)
def test_versions_that_cannot_be_are_named(data: Path, versions: list[str], complaint: str) -> None:
    done = run(data, "--local", *[part for version in versions for part in ("--version", version)])
    assert done.exit_code != 0
    assert complaint in str(done.exception)


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"page": 1}', "", '{"path": "receipt.png", "lines": 3}', '{"path": "receipt.png"}']
)
def test_a_record_that_is_none_is_named(data: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.jsonl").write_text(content)
    done = run(data, "--version", tmp_path / "bad.jsonl")
    assert done.exit_code != 0
    assert "bad.jsonl" in str(done.exception)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(samples.paths()[1].read_bytes()[:20_000])
    (tmp_path / "cut.json").write_text('{"lines": []}')
    done = run(tmp_path, "--local")
    assert done.exit_code != 0
    assert "cut.png is damaged" in str(done.exception)


def recogniser() -> onnx.ModelProto:
    from importlib.resources import files

    return onnx.load_model_from_string((files("rapidocr") / "models" / RECOGNITION).read_bytes())


def test_a_recogniser_whose_classes_do_not_fit_its_characters_is_refused() -> None:
    with pytest.raises(BadRecognizer, match="x is no ONNX model"):
        with_recognizer(b"no model", "x")
    model = recogniser()
    entry = next(entry for entry in model.metadata_props if entry.key == "character")
    entry.value = "\n".join(entry.value.splitlines()[:-3])
    with pytest.raises(BadRecognizer, match=r"18710 classes and 18705 characters.*18707 classes are needed"):
        with_recognizer(model.SerializeToString(), "x")
    del model.metadata_props[:]
    with pytest.raises(BadRecognizer, match="does not say its characters"):
        with_recognizer(model.SerializeToString(), "x")
