"""`gpupool ocr --local`: good files are read whatever lies beside them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gpupool_ocr import samples
from gpupool_ocr.pages import Image, Page, PageError
from gpupool_ocr.pipeline import Line, PageText
from gpupool_ocr.reading import PAGES_IN_FLIGHT, BadFile, ReadingJob, ReadPage, as_text, read_ahead
from gpupool_wire.errors import UsageError


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
    assert (document["path"], document["page"], document["width"]) == (str(ticket), 1, 1080)
    assert "G2187" in [line["text"] for line in document["lines"]]
    assert all(len(line["polygon"]) == 4 and 0.5 <= line["score"] <= 1 for line in document["lines"])


def blank(number: int) -> Page:
    return Page(path=Path("a.tif"), number=number, count=9, image=np.full((1, 1, 3), number, np.uint8))


def test_pages_are_read_ahead_and_come_in_order() -> None:
    second_began = threading.Event()

    def read(image: Image) -> PageText:
        if image[0, 0, 0] == 1:
            assert second_began.wait(30)  # the first page takes until the second is being read
        else:
            second_began.set()
        return PageText(lines=[], timings_s={"number": float(image[0, 0, 0])})

    bad = BadFile(error=PageError("b.png is empty"))
    outcomes = list(read_ahead(read, [blank(1), bad, blank(2), blank(3)]))
    assert outcomes[1] is bad
    assert [(o.page.number, o.text.timings_s["number"]) for o in outcomes if isinstance(o, ReadPage)] == [(1, 1), (2, 2), (3, 3)]


def test_no_more_pages_are_loaded_than_are_being_read() -> None:
    loaded: list[int] = []

    def pages() -> Iterator[Page]:
        for number in range(1, 9):
            loaded.append(number)
            yield blank(number)

    outcomes = read_ahead(lambda image: PageText(lines=[]), pages())
    for done in range(1, 4):
        next(outcomes)
        assert len(loaded) <= done + PAGES_IN_FLIGHT
    assert len(list(outcomes)) == 5


def test_what_goes_wrong_in_reading_reaches_the_caller() -> None:
    def read(image: Image) -> PageText:
        raise UsageError("no such device")

    with pytest.raises(UsageError, match="no such device"):
        list(read_ahead(read, [blank(number) for number in range(6)]))


def test_pages_of_several_are_headed() -> None:
    line = Line(quad=np.zeros((4, 2), np.float32), text="hello", score=1.0)
    read = ReadPage(page=blank(2), text=PageText(lines=[line]))
    assert as_text(read, headed=False) == "==> a.tif, page 2 <==\nhello\n"
    single = ReadPage(page=Page(path=Path("a.png"), number=1, count=1, image=blank(1).image), text=read.text)
    assert as_text(single, headed=True) == "==> a.png <==\nhello\n"
    assert as_text(single, headed=False) == "hello\n"


def test_an_output_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        ReadingJob(paths=[samples.paths()[1]], local=True, output=tmp_path).run()


def test_text_goes_to_the_file_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.txt"
    assert ReadingJob(paths=[samples.paths()[1]], local=True, output=output).run() == 0
    assert "G2187" in output.read_text("utf-8").splitlines()
    assert capsys.readouterr().out == ""


def test_nothing_to_read_opens_no_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ReadingJob(paths=[tmp_path / "none.png"]).run() == 1
    assert "does not exist" in capsys.readouterr().err
