"""A page being drawn: its picture, and every line on it with its polygon."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from gpupool_ocr.pages import Image
from gpupool_ocr.synthesis.fonts import Font

Colour = tuple[int, int, int]
INK: Colour = (28, 28, 34)
RED: Colour = (178, 34, 44)
BLUE: Colour = (30, 62, 140)
RULE: Colour = (120, 120, 128)
PAPER: Colour = (252, 251, 247)


@dataclass(frozen=True, slots=True)
class Label:
    """A line that was drawn: its text, and its corners (float64 (4, 2) pixels, from where it begins round clockwise)."""

    polygon: NDArray[np.float64]
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A finished page: its picture (uint8, BGR), lines, and, of a document, its type and fields in their normal form."""

    image: Image
    labels: tuple[Label, ...]
    type: str = ""
    fields: dict[str, str] = field(default_factory=dict)


class Canvas:
    """Paper to draw on."""

    def __init__(self, width: int, height: int, fonts: tuple[Font, Font], paper: Colour = PAPER) -> None:
        self.width, self.height = width, height
        self.image = Pillow.new("RGB", (width, height), paper)
        self.draw = ImageDraw.Draw(self.image)
        self.regular, self.bold = fonts
        self.labels: list[Label] = []

    def text(
        self, x: float, y: float, text: str, size: int = 26, *, anchor: str = "la", ink: Colour = INK, bold: bool = False
    ) -> None:
        """Draw one line; `anchor` as Pillow has it (la: left and top, ma: middle, ra: right)."""
        face = (self.bold if bold else self.regular).at(size)
        self.draw.text((x, y), text, ink, face, anchor=anchor)
        left, top, right, bottom = self.draw.textbbox((x, y), text, face, anchor=anchor)
        self.labels.append(Label(np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64), text))

    def turned(self, x: float, y: float, text: str, font: Font, size: int, ink: Colour, degrees: float) -> bool:
        """Draw one line around the point (x, y), turned to the left by `degrees`.

        Return False, and draw nothing, where it does not fit, or would touch a line that is there already.
        """
        face = font.at(size)
        left, top, right, bottom = face.getbbox(text)
        pad = 2
        width, height = math.ceil(right - left) + 2 * pad, math.ceil(bottom - top) + 2 * pad
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
        angle = math.radians(-degrees)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        polygon = (corners - [width / 2, height / 2]) @ turn.T + [x, y]
        if polygon.min() < 0 or (polygon >= [self.width, self.height]).any() or self._is_taken(polygon):
            return False
        stencil = Pillow.new("L", (width, height), 0)
        ImageDraw.Draw(stencil).text((pad - left, pad - top), text, 255, face)
        stencil = stencil.rotate(degrees, Pillow.Resampling.BICUBIC, expand=True)
        place = (round(x - stencil.width / 2), round(y - stencil.height / 2))
        self.image.paste(Pillow.new("RGB", stencil.size, ink), place, stencil)
        self.labels.append(Label(polygon, text))
        return True

    def _is_taken(self, polygon: NDArray[np.float64]) -> bool:
        mine = polygon.astype(np.float32)
        return any(cv2.intersectConvexConvex(mine, label.polygon.astype(np.float32))[0] > 0 for label in self.labels)

    def rule(self, y: int, left: int, right: int, ink: Colour = RULE, width: int = 2) -> None:
        """Draw a horizontal line."""
        self.draw.line((left, y, right, y), ink, width)

    def bar(self, x: int, top: int, bottom: int, ink: Colour = RULE) -> None:
        """Draw a vertical line."""
        self.draw.line((x, top, x, bottom), ink, 2)

    def array(self) -> Image:
        """Return the picture as uint8 (H, W, 3), BGR."""
        return np.ascontiguousarray(np.asarray(self.image)[:, :, ::-1])
