"""Images and labels as files: what is written is read, and what does not fit is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpupool_ocr.pages import load_pages
from gpupool_ocr.synthesis.dataset import BadDataset, find_examples, write
from gpupool_ocr.synthesis.page import Drawn, Label


def page(text: str = "发票 =1") -> Drawn:
    polygon = np.array([[1, 2], [30, 2], [30, 12], [1, 12]], np.float64)
    return Drawn(image=np.full((30, 40, 3), 200, np.uint8), labels=(Label(polygon, text),), type="x", fields={"a": "1"})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write("p", page(), tmp_path / "new")
    (example,) = find_examples(tmp_path / "new")
    assert (example.image, example.type, example.fields) == (path, "x", {"a": "1"})
    assert (example.lines[0].text, example.lines[0].polygon[2]) == ("发票 =1", (30.0, 12.0))
    assert (next(load_pages(path)).image == page().image).all()


def test_labels_of_icdar_and_keys_may_lie_elsewhere(tmp_path: Path, picture: Callable[..., Path]) -> None:
    picture("a.jpg")
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "a.csv").write_text("\ufeff1,2,30,2,30,12,1,12,TOTAL, RM\n\n1,2,3,2,3,4,1,4,###\n")
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "a.json").write_text('{"total": "9.00"}')
    (example,) = find_examples(tmp_path, tmp_path / "box", tmp_path / "key")
    assert ([line.text for line in example.lines], example.fields) == (["TOTAL, RM"], {"total": "9.00"})


def test_flat_polygons_are_read(tmp_path: Path, picture: Callable[..., Path]) -> None:
    picture("a.png")
    (tmp_path / "a.json").write_text(json.dumps({"lines": [{"polygon": [0, 0, 9, 0, 9, 5, 0, 5], "text": "x"}]}))
    assert find_examples(tmp_path)[0].lines[0].polygon == ((0, 0), (9, 0), (9, 5), (0, 5))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no JSON"),
        ("发票".encode("gbk"), "not UTF-8.*Convert"),
        (b"[1]", "no JSON object"),
        (b"{}", 'no list called "lines"'),
        (b'{"lines": [1]}', "line 1"),
        (b'{"lines": [{"text": "x"}]}', "polygon of 'x'"),
        (b'{"lines": [{"text": "x", "polygon": [[0, 0], [1, 1]]}]}', "polygon of 'x'"),
        (b'{"lines": [{"text": "x", "polygon": [[0, 0], [1, NaN], [1, 2]]}]}', "polygon of 'x'"),
        (b'{"lines": [{"text": "x", "polygon": [1, 2, 3]}]}', "polygon of 'x'"),
        (b'{"lines": [], "fields": {"a": 1}}', "fields must be texts"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_labels_that_cannot_be_are_named(tmp_path: Path, picture: Callable[..., Path], content: bytes, complaint: str) -> None:
    picture("a.png")
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(BadDataset, match=complaint):
        find_examples(tmp_path)


def test_folders_without_what_is_needed_are_named(tmp_path: Path, picture: Callable[..., Path]) -> None:
    with pytest.raises(BadDataset, match="is no folder"):
        find_examples(tmp_path / "none")
    with pytest.raises(BadDataset, match="holds no images"):
        find_examples(tmp_path)
    picture("a.png")
    with pytest.raises(BadDataset, match=r"a\.png has no labels: there is no a\.json, a\.csv, a\.txt"):
        find_examples(tmp_path)
    (tmp_path / "a.txt").write_text("1,2,3,text\n")
    with pytest.raises(BadDataset, match=r"a\.txt, line 1"):
        find_examples(tmp_path)


def test_labels_of_another_picture_are_noticed(tmp_path: Path) -> None:
    write("p", page(), tmp_path)
    (example,) = find_examples(tmp_path)
    example.check_size(40, 30)
    with pytest.raises(BadDataset, match="20x10 pixels, but '发票 =1' is labelled at"):
        example.check_size(20, 10)
