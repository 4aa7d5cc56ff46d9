"""Pages of the four classes of length that a cloud OCR published its latency by: 0-10, 11-100, 101-1000 and more characters.

The shorter ones are cut out of receipts: the first labelled lines that together stay within the class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2

from gpupool_ocr.pages import load_pages
from gpupool_ocr.synthesis.dataset import Example, LabelledLine, find_examples

DATA = Path("../shared/data/ocr")
#: Name of a class, and the most characters of it.
CLASSES = {"0-10": 10, "11-100": 100, "101-1000": 1000, "over 1000": 10**9}
#: Pixels left around the lines of a cut.
MARGIN = 6


def class_of(characters: int) -> str:
    """Return the class of a page on which so many characters were read."""
    return next(name for name, most in CLASSES.items() if characters <= most)


def pages_by_class(folder: Path, count: int) -> dict[str, list[Path]]:
    """Return at most `count` pages of each class by the number of labelled characters; cuts are written to `folder`."""
    receipts = find_examples(DATA / "receipts/img", DATA / "receipts/box")
    documents = find_examples(DATA / "documents")
    found: dict[str, list[Path]] = {name: [] for name in CLASSES}
    for example in [*documents, *receipts]:
        found[class_of(characters_of(example.lines))].append(example.image)
    for name in ("0-10", "11-100"):
        found[name] = list(cuts(receipts[:count], CLASSES[name], folder))
    return {name: pages[:count] for name, pages in found.items()}


def characters_of(lines: Iterable[LabelledLine]) -> int:
    """Return how many characters lines have, spaces left out."""
    return sum(len("".join(line.text.split())) for line in lines)


def cuts(examples: list[Example], most: int, folder: Path) -> Iterator[Path]:
    """Write what surrounds the first lines of pages that have at most so many characters together, and yield the paths."""
    for example in examples:
        corners = [corner for line in first_lines(example, most) for corner in line.polygon]
        if not corners:
            continue
        (left, right), (top, bottom) = ((min(values), max(values)) for values in zip(*corners, strict=True))
        image = next(load_pages(example.image)).image
        rows = slice(max(0, int(top) - MARGIN), int(bottom) + MARGIN)
        path = folder / f"{example.image.stem}-{most}.jpg"
        cv2.imwrite(str(path), image[rows, max(0, int(left) - MARGIN) : int(right) + MARGIN])
        yield path


def first_lines(example: Example, most: int) -> list[LabelledLine]:
    """Return as many lines as have at most so many characters together, from the first that is not too long by itself."""
    taken: list[LabelledLine] = []
    for line in sorted(example.lines, key=lambda line: max(y for _, y in line.polygon)):
        if characters_of([*taken, line]) <= most:
            taken.append(line)
        elif taken:
            break
    return taken
