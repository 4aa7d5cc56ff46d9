"""`gpupool ocr cases` from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from gpupool_ocr.cli import register


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["ocr", "cases", *map(str, arguments)])


def test_the_life_of_a_case(tmp_path: Path, picture: Callable[..., Path]) -> None:
    picture("a.png")
    (tmp_path / "a.json").write_text('{"lines": [{"polygon": [0, 0, 9, 0, 9, 5, 0, 5], "text": "x"}]}')
    store = tmp_path / "store"
    assert run("add", store, tmp_path, "--business", "acme").stdout == "a\n"
    (row,) = run("list", store, "--json").stdout.splitlines()
    assert (json.loads(row)["status"], json.loads(row)["reason"]) == ("labelled", "corrected")
    (tmp_path / "new.json").write_text('{"lines": [{"polygon": [0, 0, 9, 0, 9, 5, 0, 5], "text": "y"}]}')
    assert run("label", store, "a", tmp_path / "new.json").exit_code == 0
    assert json.loads(run("show", store, "a", "--picture", tmp_path / "shown").stdout)["labels"]["lines"][0]["text"] == "y"
    assert (tmp_path / "shown").stat().st_size > 0
    assert "1 cases written" in run("export", store, tmp_path / "out").stdout
    assert (tmp_path / "out" / "a.png").exists()
    assert "0 cases" in run("prune", store).stdout
    assert "1 cases are forgotten" in run("opt-out", store, "acme").stdout
    assert "not kept" in run("add", store, tmp_path, "--business", "acme").stdout
    assert run("opt-in", store, "acme").exit_code == 0
    assert run("list", store).stdout == ""


def test_a_folder_without_cases_is_named(tmp_path: Path) -> None:
    done = run("list", tmp_path)
    assert done.exit_code != 0
    assert "holds no bad cases" in str(done.exception)
