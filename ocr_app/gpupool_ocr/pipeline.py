"""A page to lines of text.

page ──Detector──> boxes ──reading order, crops──> Recognizer ──> lines
                                                      │ doubtful ones
                                                      └──Direction──> turned, read again
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import cv2
import numpy as np

from gpupool_ocr.detection import Detector
from gpupool_ocr.direction import Direction
from gpupool_ocr.geometry import Quad, cut_out, reading_order
from gpupool_ocr.models import ModelSet
from gpupool_ocr.pages import Image
from gpupool_ocr.recognition import Reading, Recognizer
from gpupool_ocr.sessions import SessionFactory

#: A line read with less than this is asked whether it stands on its head. Upright text is read with more, nearly always.
DOUBT = 0.85
#: A line read with less than this is noise.
MIN_SCORE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of text on a page."""

    #: (4, 2) pixels: top left, top right, bottom right, bottom left.
    quad: Quad
    text: str
    #: 0 to 1.
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PageText:
    """What a page says, in reading order, and where the time went (seconds by stage)."""

    lines: list[Line]
    timings_s: dict[str, float] = field(default_factory=dict)


class Pipeline:
    """Detection, recognition and direction on sessions of one factory."""

    def __init__(self, factory: SessionFactory, models: ModelSet) -> None:
        self.detector = Detector(factory.open(models.detection))
        self.recognizer = Recognizer(factory.open(models.recognition))
        self.direction = Direction(factory.open(models.direction))

    def read(self, image: Image) -> PageText:
        """Return the text of a page (uint8, (H, W, 3), BGR)."""
        start = time.perf_counter()
        boxes = self.detector.find(image)
        detected = time.perf_counter()
        quads = [boxes[index].quad for index in reading_order([box.quad for box in boxes])]
        crops = [cut_out(image, quad) for quad in quads]
        readings = self._upright(crops, self.recognizer.read(crops))
        done = time.perf_counter()
        lines = [
            Line(quad=quad, text=reading.text, score=reading.score)
            for quad, reading in zip(quads, readings, strict=True)
            if reading.text and reading.score >= MIN_SCORE
        ]
        return PageText(lines=lines, timings_s={"detect": detected - start, "recognize": done - detected, "total": done - start})

    def _upright(self, crops: list[Image], readings: list[Reading]) -> list[Reading]:
        """Return the readings, those of lines that stand on their head replaced by what they say when turned."""
        doubtful = [index for index, reading in enumerate(readings) if reading.score < DOUBT]
        if not doubtful:
            return readings
        upside_down = self.direction.upside_down([crops[index] for index in doubtful])
        turn = [index for index, turned in zip(doubtful, upside_down, strict=True) if turned]
        turned_crops = [np.asarray(cv2.rotate(crops[index], cv2.ROTATE_180), np.uint8) for index in turn]
        better = dict(zip(turn, self.recognizer.read(turned_crops), strict=True))
        return [max(reading, better.get(index, reading), key=lambda r: r.score) for index, reading in enumerate(readings)]
