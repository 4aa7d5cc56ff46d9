"""Text detection with DB: an image to a probability map on the device, the map to boxes here.

Source: Liao et al., "Real-time Scene Text Detection with Differentiable Binarization", AAAI 2020; thresholds are PP-OCR's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from gpupool_ocr.geometry import Quad, grow, smallest_rectangle
from gpupool_ocr.pages import Image
from gpupool_ocr.sessions import Session

#: The network halves its input five times.
STRIDE = 32
#: A page more than so many times as high as wide is searched in parts that are at least so many times as high as wide, which
#: overlap by this fraction: much more than the height of a line.
LONG_ASPECT = 4.0
WINDOW_ASPECT = 2.0
OVERLAP = 0.1
#: Nobody writes a scroll; a picture one pixel wide and a million high must not cost a thousand calls.
MAX_WINDOWS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionSettings:
    """What PP-OCR calls its detection parameters."""

    #: The shorter side is enlarged to at least this, the longer one reduced to at most that (pixels).
    min_side: int = 736
    max_side: int = 2000
    #: But no side by more than this: a strip with one line would become letters larger than the network has seen, at the cost of
    #: a page. Measured on 10 strips cut out of receipts: character recall 1.00 in place of 0.81, for a fifth of the work.
    max_enlargement: float = 4.0
    #: A pixel above this belongs to text; a box whose mean is below that is dropped.
    pixel_threshold: float = 0.3
    box_threshold: float = 0.5
    grow_ratio: float = 1.6
    #: Boxes thinner than this are noise (pixels of the map).
    min_thickness: float = 3.0
    #: A page of a telephone book has fewer lines.
    max_boxes: int = 3000


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """Where there is text, in pixels of the page, and how sure the detector is."""

    quad: Quad
    score: float


def scaled_size(height: int, width: int, settings: DetectionSettings) -> tuple[int, int]:
    """Return the height and width the detector sees: within its limits, and whole strides."""
    scale = min(1.0, settings.max_side / max(height, width))
    if min(height, width) * scale < settings.min_side:
        # A strip must not become gigantic because its short side is short.
        scale = min(settings.min_side / min(height, width), 2 * settings.max_side / max(height, width), settings.max_enlargement)
    return _whole_strides(height * scale), _whole_strides(width * scale)


def _whole_strides(side: float) -> int:
    return max(STRIDE, round(side / STRIDE) * STRIDE)


def windows(height: int, width: int, settings: DetectionSettings) -> list[tuple[int, int]]:
    """Return the parts (first row, row behind the last) that a page is searched in: one, but for pages as long as a scroll.

    Shrunk to what the detector sees, a long screenshot would be unreadable. Parts overlap by OVERLAP of their height.
    """
    if height <= max(settings.max_side, LONG_ASPECT * width):
        return [(0, height)]
    part = min(height, max(settings.max_side, math.ceil(WINDOW_ASPECT * width), math.ceil(height / MAX_WINDOWS)))
    count = math.ceil((height - part) / (part * (1 - OVERLAP))) + 1
    starts = [round(index * (height - part) / (count - 1)) for index in range(count)]
    return [(start, start + part) for start in starts]


class Detector:
    """Finds text. `session` takes uint8 (1, H, W, 3 or 1) and gives uint8 probabilities (1, 1, H, W), see models.py."""

    def __init__(self, session: Session, settings: DetectionSettings | None = None) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self.settings = settings or DetectionSettings()

    def find(self, image: Image) -> list[Box]:
        """Return the boxes of text on a page (uint8, (H, W, 3 or 1)), in no order."""
        parts = self.parts(image)
        return self.gather(image, [self._session.run(None, {self._input: self.prepare(image[a:b])})[0] for a, b in parts])

    def parts(self, image: Image) -> list[tuple[int, int]]:
        """Return the parts of a page that are searched one by one, see windows."""
        return windows(image.shape[0], image.shape[1], self.settings)

    def gather(self, image: Image, maps: list[NDArray[np.uint8]]) -> list[Box]:
        """Return the boxes of text on a page, given the network's answer for each of its parts."""
        parts = self.parts(image)
        found: list[Box] = []
        for index, ((top, bottom), probabilities) in enumerate(zip(parts, maps, strict=True)):
            # Of what two parts see, each keeps what has its middle on its own side of the middle of the overlap.
            first = -math.inf if index == 0 else (top + parts[index - 1][1]) / 2
            last = math.inf if index == len(parts) - 1 else (bottom + parts[index + 1][0]) / 2
            for box in self.finish(probabilities, bottom - top, image.shape[1]):
                quad = box.quad + np.array([0, top], np.float32)
                if first <= quad[:, 1].mean() < last:
                    found.append(replace(box, quad=quad))
        return found

    def prepare(self, image: Image) -> NDArray[np.uint8]:
        """Return what the network takes: uint8 (1, H, W, 3 or 1), sides whole multiples of 32."""
        height, width = scaled_size(image.shape[0], image.shape[1], self.settings)
        return np.asarray(cv2.resize(image, (width, height)), np.uint8).reshape(1, height, width, image.shape[2])

    def finish(self, probabilities: NDArray[np.uint8], height: int, width: int) -> list[Box]:
        """Return the boxes in a map of probabilities (uint8, 255 is certain) for a page of height x width pixels."""
        settings, grid = self.settings, probabilities[0, 0]
        # p > 0.3 is p * 255 >= 76.5, which rounds to 77: the mask is the same as that of the float map.
        mask = (grid > settings.pixel_threshold * 255).astype(np.uint8)
        mask = np.asarray(cv2.dilate(mask, np.ones((2, 2), np.uint8)), np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        scale = np.array([width / grid.shape[1], height / grid.shape[0]], np.float32)
        limits = np.array([width, height], np.float32)
        boxes: list[Box] = []
        for contour in contours[: settings.max_boxes]:
            kernel, thickness = smallest_rectangle(contour[:, 0, :])
            if thickness < settings.min_thickness:
                continue
            score = mean_inside(grid, kernel) / 255.0
            if score < settings.box_threshold:
                continue
            quad = np.clip(grow(kernel, settings.grow_ratio) * scale, 0, limits).round().astype(np.float32)
            boxes.append(Box(quad=quad, score=score))
        return boxes


def mean_inside(grid: NDArray[np.uint8], quad: Quad) -> float:
    """Return the mean of `grid` (H, W) over the pixels of a quadrilateral."""
    height, width = grid.shape
    left, top = np.clip(np.floor(quad.min(0)), 0, [width - 1, height - 1]).astype(int)
    right, bottom = np.clip(np.ceil(quad.max(0)), 0, [width - 1, height - 1]).astype(int)
    mask = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillPoly(mask, [(quad - [left, top]).astype(np.int32)], (1,))
    return float(cv2.mean(grid[top : bottom + 1, left : right + 1], mask)[0])
