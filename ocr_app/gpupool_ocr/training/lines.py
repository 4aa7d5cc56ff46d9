"""Lines to train on: crops of labelled pages, what the network makes of them, and which page is for what.

The network is run once: its features stay the same while the head is trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from gpupool_ocr.geometry import cut_out, order_corners
from gpupool_ocr.pages import Image, load_pages
from gpupool_ocr.recognition import make_batches
from gpupool_ocr.sessions import Session
from gpupool_ocr.synthesis.dataset import BadDataset, Corners, Example

Share = Literal["train", "validation", "test"]
#: Six, two and two parts of ten.
_SHARES: tuple[Share, ...] = ("train",) * 6 + ("validation",) * 2 + ("test",) * 2
#: Fewer cannot be split into three.
MIN_PAGES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingLine:
    """A labelled line as the head sees it."""

    #: The file of its page.
    page: str
    text: str
    #: float32 (T, F).
    features: NDArray[np.float32]


def split(examples: Sequence[Example], seed: int) -> dict[Share, list[Example]]:
    """Return the pages in shares of 6 : 2 : 2, by what their names hash to: a page stays in its share when others join.

    Within each ten of pages so ordered, six are trained on. Raises BadDataset for less than MIN_PAGES.
    """
    if len(examples) < MIN_PAGES:
        raise BadDataset(
            f"{len(examples)} labelled pages: at least {MIN_PAGES} are needed to train on 6, choose by 2, measure on 2"
        )

    def place(example: Example) -> bytes:
        return hashlib.sha256(f"{seed}/{example.image.name}".encode()).digest()

    found: dict[Share, list[Example]] = {"train": [], "validation": [], "test": []}
    for index, example in enumerate(sorted(examples, key=place)):
        found[_SHARES[index % len(_SHARES)]].append(example)
    return found


def crops_of(example: Example) -> Iterator[tuple[Image, str]]:
    """Yield the labelled lines of a page as upright crops, with their texts; lines without a text are left out."""
    image = next(load_pages(example.image)).image
    example.check_size(image.shape[1], image.shape[0])
    for line in example.lines:
        if line.text.strip():
            yield cut_out(image, _quad(line.polygon)), line.text


def _quad(polygon: Corners) -> NDArray[np.float32]:
    """Return four corners as they are, and the smallest rectangle around more or fewer."""
    points = np.array(polygon, np.float32)
    return points if len(points) == 4 else order_corners(cv2.boxPoints(cv2.minAreaRect(points)))


def features_of(examples: Sequence[Example], session: Session) -> list[TrainingLine]:
    """Return the lines of pages with the features that the frozen network gives (see graph.py) for them."""
    names = [argument.name for argument in session.get_inputs()]
    found: list[TrainingLine] = []
    for example in examples:
        crops = list(crops_of(example))
        for batch in make_batches([crop for crop, _ in crops]):
            inputs = (batch.images, batch.widths, np.array([batch.width], np.int64))
            (features,) = session.run(None, dict(zip(names, inputs, strict=True)))
            for index, line in zip(batch.indexes, features, strict=True):
                found.append(TrainingLine(page=example.image.name, text=crops[index][1], features=np.asarray(line, np.float32)))
    return found
