"""`gpupool ocr --local`: good files are read whatever lies beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpupool_ocr import samples
from gpupool_ocr.reading import ReadingJob


def test_bad_files_are_named_and_the_others_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    ticket = samples.paths()[1]
    paths = [tmp_path / "bad.jpg", tmp_path / "none.png", ticket, tmp_path / "empty.png"]
    failed = ReadingJob(paths=paths, as_json=True, local=True).run()
    out, err = capsys.readouterr()
    assert failed == 3
    assert len(err.splitlines()) == 3
    document = json.loads(out)
    assert (document["path"], document["page"], document["width"]) == (str(ticket), 1, 1000)
    assert "G2187" in [line["text"] for line in document["lines"]]
    assert all(len(line["polygon"]) == 4 and 0.5 <= line["score"] <= 1 for line in document["lines"])


def test_text_goes_to_the_file_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.txt"
    assert ReadingJob(paths=[samples.paths()[1]], local=True, output=output).run() == 0
    assert "G2187" in output.read_text("utf-8").splitlines()
    assert capsys.readouterr().out == ""


def test_nothing_to_read_opens_no_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ReadingJob(paths=[tmp_path / "none.png"]).run() == 1
    assert "does not exist" in capsys.readouterr().err
