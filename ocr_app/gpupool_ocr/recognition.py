"""Reading lines: crops to batches of equal shape, class indexes per step to text (CTC).

Source: Graves et al., "Connectionist Temporal Classification", ICML 2006 (best-path decoding); SVTR as PP-OCR ships it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gpupool_ocr.pages import Image
from gpupool_ocr.sessions import Session

#: The network reads lines of this height (pixels).
HEIGHT = 48
#: Lines are padded to whole steps of that many pixels, so that lines of about the same length share a batch, and to no less than
#: MIN_WIDTH. PP-OCR pads to 320 at least. Measured on 30 receipts (bench/ocr_accuracy.py): character recall 0.9852 with 64 and
#: 0.9855 with 320, for a little more than half the work, because most lines of a receipt are short.
MIN_WIDTH = 64
WIDTH_STEP = 32
#: 80 times as wide as high: about 120 characters. Longer crops are squeezed.
MAX_WIDTH = 3840
#: The widths of a batch add up to at most this (pixels), 8 lines of 320: a quarter of a second on a CPU core, so that a share of
#: the device is kept in small turns, and 24 MB of probabilities. Larger batches gain nothing on a CPU and little on a GPU.
MAX_BATCH_WIDTH = 2560
BLANK = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a line says, and how sure the reader is (0 to 1)."""

    text: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Crops that the network sees at the same width. `indexes` say which they are."""

    indexes: list[int]
    #: uint8 (n, 48, widest crop, 3 or 1); what lies right of a narrower crop is blanked on the device.
    images: NDArray[np.uint8]
    #: int64 (n,), how wide each crop is.
    widths: NDArray[np.int64]
    #: The width the network sees.
    width: int


def scaled_width(crop: Image) -> int:
    """Return the width of a crop scaled to HEIGHT."""
    height, width = int(crop.shape[0]), int(crop.shape[1])
    return max(1, min(MAX_WIDTH, math.ceil(HEIGHT * width / height)))


def padded_width(width: int) -> int:
    """Return the width the network sees for a line that is `width` wide."""
    return max(MIN_WIDTH, math.ceil(width / WIDTH_STEP) * WIDTH_STEP)


def make_batches(crops: list[Image]) -> Iterator[Batch]:
    """Yield batches of crops whose padded widths are equal: other padding inside a batch would change the text."""
    widths = [scaled_width(crop) for crop in crops]
    by_width: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(crops)), key=widths.__getitem__):  # crops of about one width side by side: few blanks travel
        by_width[padded_width(widths[index])].append(index)
    for width, indexes in by_width.items():
        size = max(1, MAX_BATCH_WIDTH // width)
        for start in range(0, len(indexes), size):
            chosen = indexes[start : start + size]
            own = np.array([widths[index] for index in chosen], np.int64)
            yield Batch(indexes=chosen, images=stack([crops[index] for index in chosen], own), widths=own, width=width)


def stack(crops: list[Image], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return crops scaled to HEIGHT and `widths` ((n,) pixels) as uint8 (n, 48, widest, colours), zeros right of each."""
    colours = crops[0].shape[2]
    images = np.zeros((len(crops), HEIGHT, int(widths.max()), colours), np.uint8)
    for image, crop, width in zip(images, crops, widths.tolist(), strict=True):
        image[:, :width] = np.asarray(cv2.resize(crop, (width, HEIGHT)), np.uint8).reshape(HEIGHT, width, colours)
    return images


class Recognizer:
    """Reads crops. `session` takes uint8 images and their widths, and gives class indexes and scores per step, see models.py."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names = [argument.name for argument in session.get_inputs()]
        self.characters = characters_of(session)

    def read(self, crops: list[Image]) -> list[Reading]:
        """Return what each crop says, in their order."""
        readings = [Reading("", 0.0)] * len(crops)
        for batch in make_batches(crops):
            inputs = (batch.images, batch.widths, np.array([batch.width], np.int64))
            best, score = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
            for index, classes, scores in zip(batch.indexes, best, score, strict=True):
                readings[index] = decode(classes, scores, self.characters)
        return readings


def characters_of(session: Session) -> list[str]:
    """Return the text of every class: blank, the characters of the model's metadata, and the space PP-OCR appends."""
    return ["", *session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]


def decode(classes: NDArray[np.integer], scores: NDArray[np.floating], characters: list[str]) -> Reading:
    """Return the text of the best path: repeats count once, blanks not at all; the score is the mean of what is kept."""
    kept = classes != BLANK
    kept[1:] &= classes[1:] != classes[:-1]
    if not kept.any():
        return Reading("", 0.0)
    return Reading("".join(characters[index] for index in classes[kept]), float(scores[kept].mean()))
