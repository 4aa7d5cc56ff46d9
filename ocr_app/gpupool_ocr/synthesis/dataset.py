"""Pages and labels as files: what `synth` writes and `eval` and `tune` read.

FOLDER/NAME.png (or another image)   FOLDER/NAME.json   {"lines": [{"polygon": [[x, y] * 4], "text": "..."}],
                                                         "type": "train_ticket", "fields": {"train": "G2187"}}

Polygons may be flat ([x1, y1, x2, y2, ...]), and labels may be the comma-separated ones of ICDAR (NAME.csv or NAME.txt: eight
numbers and the text a line) beside the image or in another folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpupool_ocr.pages import IMAGE_SUFFIXES
from gpupool_wire.errors import UsageError

if TYPE_CHECKING:
    from gpupool_ocr.synthesis.page import Drawn

Corners = tuple[tuple[float, float], ...]

LABEL_SUFFIXES = (".json", ".csv", ".txt")
#: A label file of more is no page's.
MAX_LABEL_BYTES = 16 * 1024 * 1024
#: A label this far outside its page (as a share of the page's longer side) belongs to another one.
OUTSIDE = 0.05


class BadDataset(UsageError):
    """Images and labels do not go together."""

    code = "bad_dataset"


@dataclass(frozen=True, slots=True)
class LabelledLine:
    """Where a line stands (pixels, at least three corners) and what it says."""

    polygon: Corners
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A page's file and what it should be read as."""

    image: Path
    lines: tuple[LabelledLine, ...]
    #: A document's type, and its fields in their normal form; empty where none are labelled.
    type: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the labels as plain values for JSON."""
        lines = [{"polygon": [list(corner) for corner in line.polygon], "text": line.text} for line in self.lines]
        return {"lines": lines, "type": self.type, "fields": dict(self.fields)}

    def check_size(self, width: int, height: int) -> None:
        """Raise BadDataset where a label lies outside a page of this size: labels of another picture, or of another scale."""
        slack = OUTSIDE * max(width, height)
        for line in self.lines:
            if any(not (-slack <= x <= width + slack and -slack <= y <= height + slack) for x, y in line.polygon):
                corners = ", ".join(f"({x:g}, {y:g})" for x, y in line.polygon)
                raise BadDataset(f"{self.image} has {width}x{height} pixels, but {line.text[:40]!r} is labelled at {corners}")


def write(name: str, drawn: Drawn, folder: Path) -> Path:
    """Write a drawn page and its labels; return the image's path. Raises UsageError where that cannot be."""
    import cv2

    lines = [
        {"polygon": [[round(x, 1), round(y, 1)] for x, y in label.polygon.tolist()], "text": label.text} for label in drawn.labels
    ]
    content: dict[str, Any] = {"lines": lines}
    if drawn.type:
        content |= {"type": drawn.type, "fields": drawn.fields}
    path = folder / f"{name}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", drawn.image)[1].tobytes())
        path.with_suffix(".json").write_text(json.dumps(content, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    return path


def find_examples(images: Path, labels: Path | None = None, keys: Path | None = None) -> list[Example]:
    """Return the labelled images of a folder, by name; `labels` and `keys` (fields as JSON) may lie in folders of their own.

    Raises BadDataset for a folder without any, an image without labels, and labels that cannot be read.
    """
    if not images.is_dir():
        raise BadDataset(f"{images} is no folder")
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise BadDataset(f"{images} holds no images")
    return [_example(image, labels or images, keys) for image in found]


def _example(image: Path, labels: Path, keys: Path | None) -> Example:
    candidates = [labels / f"{image.stem}{suffix}" for suffix in LABEL_SUFFIXES]
    path = next((path for path in candidates if path.exists()), None)
    if path is None:
        raise BadDataset(f"{image} has no labels: there is no {', '.join(path.name for path in candidates)} in {labels}")
    content = read_labels(path)
    if keys:
        content = {**content, "fields": _json(keys / f"{image.stem}.json")}
    lines, type_name, fields = parse_labels(content, str(path))
    return Example(image=image, lines=lines, type=type_name, fields=fields)


def read_labels(path: Path) -> dict[str, Any]:
    """Return the content of a label file, JSON or ICDAR's; raise BadDataset where it cannot be read."""
    return _json(path) if path.suffix == ".json" else {"lines": list(_icdar(path))}


def parse_labels(content: Mapping[str, Any], source: str) -> tuple[tuple[LabelledLine, ...], str, dict[str, str]]:
    """Return lines, type and fields of labels; raise BadDataset, naming `source`, where they are none."""
    fields = content.get("fields") or {}
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise BadDataset(f"{source}: fields must be texts by name")
    if not isinstance(content.get("lines"), list):
        raise BadDataset(f'{source} has no list called "lines"')
    lines = tuple(_line(source, number, line) for number, line in enumerate(content["lines"], 1))
    return lines, str(content.get("type") or ""), fields


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise BadDataset(f"{path} has {path.stat().st_size} bytes: the limit for labels is {MAX_LABEL_BYTES}")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadDataset(
            f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}. Convert it first"
        ) from error
    except OSError as error:
        raise BadDataset(f"{path} cannot be read: {error.strerror}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadDataset(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadDataset(f"{path} holds no JSON object")
    return content


def _icdar(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file of `x1,y1,x2,y2,x3,y3,x4,y4,text`; `###` marks what nobody can read."""
    for number, row in enumerate(_text(path).splitlines(), 1):
        if not row.strip():
            continue
        cells = row.split(",", 8)
        if len(cells) < 9:
            raise BadDataset(f"{path}, line {number}: eight numbers and a text, with commas, are needed: {row[:60]!r}")
        if cells[8] != "###":
            yield {"polygon": cells[:8], "text": cells[8]}


def _line(source: str, number: int, line: Any) -> LabelledLine:  # noqa: ANN401 - anything that JSON holds
    if not isinstance(line, dict) or not isinstance(line.get("text"), str):
        raise BadDataset(f'{source}, line {number}: a label needs "polygon" and "text"')
    try:
        return LabelledLine(_corners(line["polygon"]), line["text"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadDataset(
            f"{source}, line {number}: the polygon of {line['text'][:40]!r} is not four corners of two numbers"
        ) from error


def _corners(values: Iterable[Any]) -> Corners:
    points = list(values)
    if points and not isinstance(points[0], list | tuple):
        points = [points[index : index + 2] for index in range(0, len(points), 2)]
    corners = tuple((float(x), float(y)) for x, y in points)
    if len(corners) < 3 or not all(math.isfinite(value) for corner in corners for value in corner):
        raise ValueError("not a polygon")
    return corners
