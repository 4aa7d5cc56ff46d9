"""A page while steps work on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gpupool_ocr.detection import Box
from gpupool_ocr.geometry import Quad, turn, turn_back, without_idle_colours
from gpupool_ocr.pages import Image
from gpupool_ocr.pipeline import Line
from gpupool_ocr.recognition import Reading


@dataclass(slots=True)
class PageWork:
    """What is known of one page so far. Steps that wait for each other change it in turn, others different fields of it."""

    #: uint8 (H, W, 3 or 1), as it is being read.
    image: Image
    quads: list[Quad] = field(default_factory=list)
    #: One for each quad, upright crops of it (uint8).
    crops: list[Image] = field(default_factory=list)
    #: One for each quad.
    readings: list[Reading] = field(default_factory=list)
    #: Indexes of the quads whose text stands on its head.
    turned: list[int] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    #: What went wrong in steps that may fail.
    problems: list[str] = field(default_factory=list)
    #: The page stands on its head, and was turned.
    is_turned: bool = False
    #: Set by a step that saw that the page stands on its head: it is to be read again from the start.
    wants_turning: bool = False

    @classmethod
    def of(cls, image: Image) -> PageWork:
        """Return the work on a page (uint8, BGR, (H, W, 3))."""
        return cls(image=without_idle_colours(image))

    def set_boxes(self, boxes: list[Box], crops: list[Image]) -> None:
        """Take what the detector found."""
        self.quads, self.crops = [box.quad for box in boxes], crops

    def turned_over(self) -> PageWork:
        """Return the work on the same page turned by 180 degrees, from the start."""
        return PageWork(image=turn(self.image), is_turned=True)

    def quad_on_page(self, quad: Quad) -> Quad:
        """Return where a quad lies on the page as it came."""
        return turn_back(quad, *self.image.shape[:2]) if self.is_turned else quad
