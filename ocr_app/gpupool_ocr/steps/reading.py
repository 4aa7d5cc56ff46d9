"""The steps that read a page with models: detect, recognize, orient, reread, order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpupool_ocr.detection import Detector
from gpupool_ocr.direction import MAX_BATCH, THRESHOLD, WIDTH
from gpupool_ocr.geometry import cut_out, reading_order, turn
from gpupool_ocr.pages import Image
from gpupool_ocr.pipeline import DOUBT, MIN_SCORE, Line
from gpupool_ocr.recognition import Reading, characters_of, decode, make_batches, scaled_width, stack
from gpupool_ocr.sessions import Session
from gpupool_ocr.steps.step import Call, CallsAlone
from gpupool_ocr.steps.work import PageWork

Feed = Mapping[str, Any]


class ModelStep:
    """A step whose calls run a model. Of joined calls the first axis of every input and output counts the items."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names = [argument.name for argument in session.get_inputs()]

    def call(self, feed: Feed) -> list[Any]:
        """Return the model's outputs."""
        return self._session.run(None, feed)

    def join(self, feeds: Sequence[Feed]) -> Feed:
        """Return calls of one key as one: images of unequal widths are padded, which the model blanks again."""
        images = [feed[self._names[0]] for feed in feeds]
        joined = np.zeros(
            (sum(map(len, images)), *images[0].shape[1:2], max(i.shape[2] for i in images), images[0].shape[3]), np.uint8
        )
        start = 0
        for image in images:
            joined[start : start + len(image), :, : image.shape[2]] = image
            start += len(image)
        widths = np.concatenate([feed[self._names[1]] for feed in feeds])
        return dict(zip(self._names, (joined, widths, feeds[0][self._names[2]]), strict=True))

    def part(self, answer: list[Any], feeds: Sequence[Feed]) -> list[list[Any]]:
        """Return the outputs of joined calls, one list for each."""
        ends = np.cumsum([len(feed[self._names[0]]) for feed in feeds])[:-1]
        return [list(outputs) for outputs in zip(*(np.split(output, ends) for output in answer), strict=True)]


class Detect(ModelStep):
    """Finds where text is, one call for each part of the page, and cuts it out."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._detector = Detector(session)

    def split(self, page: PageWork) -> list[Call]:
        """Return a call for every part of the page."""
        return [
            Call(feed={self._names[0]: self._detector.prepare(page.image[top:bottom])})
            for top, bottom in self._detector.parts(page.image)
        ]

    def merge(self, page: PageWork, calls: Sequence[Call], answers: Sequence[Any]) -> None:
        """Keep the boxes in reading order, and the crops."""
        boxes = self._detector.gather(page.image, [answer[0] for answer in answers])
        boxes = [boxes[index] for index in reading_order([box.quad for box in boxes])]
        page.set_boxes(boxes, [cut_out(page.image, box.quad) for box in boxes])


class Recognize(ModelStep):
    """Reads crops, those of equal width together."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._characters = characters_of(session)

    def split(self, page: PageWork) -> list[Call]:
        """Return a call for every batch of crops."""
        return self._calls(page.crops)

    def merge(self, page: PageWork, calls: Sequence[Call], answers: Sequence[Any]) -> None:
        """Keep what the crops say."""
        page.readings = self._readings(len(page.crops), calls, answers)

    def peek(self, page: PageWork, call: Call, answer: Any) -> list[tuple[int, Line]]:  # noqa: ANN401 - as call() answers
        """Return the lines that one call read, with their index among the page's boxes."""
        found = zip(
            call.about, (decode(classes, scores, self._characters) for classes, scores in zip(*answer, strict=True)), strict=True
        )
        return [
            (index, Line(quad=page.quad_on_page(page.quads[index]), text=reading.text, score=reading.score))
            for index, reading in found
            if reading.text and reading.score >= MIN_SCORE
        ]

    def _calls(self, crops: list[Image]) -> list[Call]:
        return [
            Call(
                feed=dict(zip(self._names, (batch.images, batch.widths, np.array([batch.width], np.int64)), strict=True)),
                key=(batch.width, batch.images.shape[3]),
                about=batch.indexes,
            )
            for batch in make_batches(crops)
        ]

    def _readings(self, count: int, calls: Sequence[Call], answers: Sequence[Any]) -> list[Reading]:
        readings = [Reading("", 0.0)] * count
        for call, (best, score) in zip(calls, answers, strict=True):
            for index, classes, scores in zip(call.about, best, score, strict=True):
                readings[index] = decode(classes, scores, self._characters)
        return readings


class Orient(ModelStep):
    """Asks of doubtful lines whether they stand on their head."""

    def split(self, page: PageWork) -> list[Call]:
        """Return a call for every MAX_BATCH doubtful lines."""
        doubtful = [index for index, reading in enumerate(page.readings) if reading.score < DOUBT]
        return [self._call(page, doubtful[start : start + MAX_BATCH]) for start in range(0, len(doubtful), MAX_BATCH)]

    def _call(self, page: PageWork, indexes: list[int]) -> Call:
        crops = [page.crops[index] for index in indexes]
        widths = np.array([min(WIDTH, scaled_width(crop)) for crop in crops], np.int64)
        feed = dict(zip(self._names, (stack(crops, widths), widths, np.array([WIDTH], np.int64)), strict=True))
        return Call(feed=feed, key=crops[0].shape[2], about=indexes)

    def merge(self, page: PageWork, calls: Sequence[Call], answers: Sequence[Any]) -> None:
        """Keep which lines stand on their head."""
        page.turned = [
            index
            for call, (scores,) in zip(calls, answers, strict=True)
            for index, score in zip(call.about, scores[:, 1].tolist(), strict=True)
            if score > THRESHOLD
        ]


class Reread(Recognize):
    """Reads the lines that stand on their head turned round, and keeps the better reading."""

    def peek(self, page: PageWork, call: Call, answer: Any) -> list[tuple[int, Line]]:  # noqa: ANN401 - as call() answers
        """Return nothing: which reading is better shows in the end."""
        return []

    def split(self, page: PageWork) -> list[Call]:
        """Return a call for every batch of such crops."""
        return self._calls([turn(page.crops[index]) for index in page.turned])

    def merge(self, page: PageWork, calls: Sequence[Call], answers: Sequence[Any]) -> None:
        """Replace what reads better turned; where that is most of the lines, the page itself stands on its head."""
        again = dict(zip(page.turned, self._readings(len(page.turned), calls, answers), strict=True))
        better = {index: reading for index, reading in again.items() if reading.score > page.readings[index].score}
        page.readings = [better.get(index, reading) for index, reading in enumerate(page.readings)]
        legible = sum(bool(reading.text) and reading.score >= MIN_SCORE for reading in page.readings)
        turned = sum(reading.score >= MIN_SCORE for reading in better.values())
        page.wants_turning = 2 * turned > legible and not page.is_turned


class Order(CallsAlone):
    """Puts what was read into lines. The boxes are in reading order already; noise goes. Calls nothing."""

    def split(self, page: PageWork) -> list[Call]:
        """Return no calls."""
        return []

    def call(self, feed: Feed) -> None:
        """Never called: there are no calls."""

    def merge(self, page: PageWork, calls: Sequence[Call], answers: Sequence[Any]) -> None:
        """Keep the lines that say something."""
        page.lines = [
            Line(quad=page.quad_on_page(quad), text=reading.text, score=reading.score)
            for quad, reading in zip(page.quads, page.readings, strict=True)
            if reading.text and reading.score >= MIN_SCORE
        ]
        page.crops = []  # the largest thing a page holds besides its image
