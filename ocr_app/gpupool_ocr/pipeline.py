"""A page to lines of text.

page ──Detector──> boxes ──reading order, crops──> Recognizer ──> lines
                                                      │ doubtful ones
                                                      └──Direction──> turned, read again
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from gpupool_ocr.detection import Detector
from gpupool_ocr.direction import Direction
from gpupool_ocr.geometry import Quad, cut_out, reading_order, turn, turn_back, without_idle_colours
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
    """Detection, recognition and direction on sessions of one factory. Keeps nothing of a page: threads may share it."""

    def __init__(self, factory: SessionFactory, models: ModelSet) -> None:
        self.detector = Detector(factory.open(models.detection))
        self.recognizer = Recognizer(factory.open(models.recognition))
        self.direction = Direction(factory.open(models.direction))

    def read(self, image: Image) -> PageText:
        """Return the text of a page (uint8, BGR, (H, W, 3)). A page that stands on its head is turned first."""
        start = time.perf_counter()
        image = without_idle_colours(image)
        lines, timings_s, is_upside_down = self._read_as_it_stands(image)
        if is_upside_down:
            turned, more_s, _ = self._read_as_it_stands(turn(image))
            lines = [replace(line, quad=turn_back(line.quad, *image.shape[:2])) for line in turned]
            timings_s = {stage: seconds + more_s[stage] for stage, seconds in timings_s.items()}
        return PageText(lines=lines, timings_s={**timings_s, "total": time.perf_counter() - start})

    def _read_as_it_stands(self, image: Image) -> tuple[list[Line], dict[str, float], bool]:
        """Return the lines, the seconds spent by stage, and whether most of the lines stand on their head."""
        start = time.perf_counter()
        boxes = self.detector.find(image)
        detected = time.perf_counter()
        quads = [boxes[index].quad for index in reading_order([box.quad for box in boxes])]
        crops = [cut_out(image, quad) for quad in quads]
        readings, turned = self._upright(crops, self.recognizer.read(crops))
        lines = [
            Line(quad=quad, text=reading.text, score=reading.score)
            for quad, reading in zip(quads, readings, strict=True)
            if reading.text and reading.score >= MIN_SCORE
        ]
        timings_s = {"detect": detected - start, "recognize": time.perf_counter() - detected}
        return lines, timings_s, 2 * turned > len(lines)

    def _upright(self, crops: list[Image], readings: list[Reading]) -> tuple[list[Reading], int]:
        """Return the readings, those of lines that stand on their head replaced by what they say when turned, and how many."""
        doubtful = [index for index, reading in enumerate(readings) if reading.score < DOUBT]
        if not doubtful:
            return readings, 0
        upside_down = self.direction.upside_down([crops[index] for index in doubtful])
        turn_these = [index for index, is_turned in zip(doubtful, upside_down, strict=True) if is_turned]
        again = dict(zip(turn_these, self.recognizer.read([turn(crops[index]) for index in turn_these]), strict=True))
        better = {index: reading for index, reading in again.items() if reading.score > readings[index].score}
        turned = sum(reading.score >= MIN_SCORE for reading in better.values())
        return [better.get(index, reading) for index, reading in enumerate(readings)], turned
