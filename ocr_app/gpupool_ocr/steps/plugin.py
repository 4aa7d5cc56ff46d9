"""The step that asks a plug-in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpupool_ocr.geometry import turn
from gpupool_ocr.plugins.frames import Answer, Question
from gpupool_ocr.plugins.process import PluginGroup
from gpupool_ocr.steps.step import Call, CallsAlone
from gpupool_ocr.steps.work import PageWork

Feed = Mapping[str, Any]


class PluginStep(CallsAlone):
    """Shows a page's lines to a plug-in, and keeps the fields it finds."""

    def __init__(self, group: PluginGroup) -> None:
        self._group = group

    def split(self, page: PageWork) -> list[Call]:
        """Return one call."""
        height, width, colours = page.image.shape
        lines = [{"polygon": line.quad.tolist(), "text": line.text, "score": line.score} for line in page.lines]
        image = None
        if self._group.spec.wants_image:  # as it came, like the polygons
            image = (turn(page.image) if page.is_turned else page.image).tobytes()
        question = Question(lines=lines, height=height, width=width, image=image, colours=colours)
        return [Call(feed={"question": question})]

    def call(self, feed: Feed) -> Answer:
        """Ask the plug-in. Raises PluginError."""
        return self._group.call(feed["question"])

    def merge(self, page: PageWork, calls: Sequence[Call], answers: Sequence[Any]) -> None:
        """Keep the fields."""
        for answer in answers:
            page.fields |= answer.fields
