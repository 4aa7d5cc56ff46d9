"""Letters that are no font's: the dots of ink-jet printers on packages, the segments of meters. Recognisers meet few of either.

Each gives a stencil: uint8 (H, W), 255 where there is ink.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from gpupool_ocr.synthesis.fonts import Font

Stencil = NDArray[np.uint8]

#: The size at which capitals of common faces are 7 pixels high, as many as print heads have nozzles.
_NOZZLE_SIZE = 10
#: Segments by digit, in the usual letters: a top, b and c right, d bottom, e and f left, g middle.
SEGMENTS = {
    **{"0": "abcdef", "1": "bc", "2": "abdeg", "3": "abcdg", "4": "bcfg", "5": "acdfg", "6": "acdefg", "7": "abc"},
    **{"8": "abcdefg", "9": "abcdfg", "-": "g"},
}
#: Ends of each segment on a grid of one by two.
_ENDS = {
    **{"a": ((0, 0), (1, 0)), "b": ((1, 0), (1, 1)), "c": ((1, 1), (1, 2)), "d": ((0, 2), (1, 2))},
    **{"e": ((0, 1), (0, 2)), "f": ((0, 0), (0, 1)), "g": ((0, 1), (1, 1))},
}


def dots(text: str, font: Font, pitch: int) -> Stencil:
    """Return a text as round dots `pitch` pixels apart."""
    face = font.at(_NOZZLE_SIZE)
    left, top, right, bottom = face.getbbox(text)
    small = Pillow.new("1", (int(right - left) + 2, int(bottom - top) + 2))
    draw = ImageDraw.Draw(small)
    draw.fontmode = "1"
    draw.text((1 - left, 1 - top), text, 1, face)
    nozzles = np.asarray(small)
    stencil = np.zeros((nozzles.shape[0] * pitch, nozzles.shape[1] * pitch), np.uint8)
    for y, x in np.argwhere(nozzles):
        centre = (int((x + 0.5) * pitch), int((y + 0.5) * pitch))
        cv2.circle(stencil, centre, max(1, round(0.4 * pitch)), (255,), -1, cv2.LINE_AA)
    return stencil


def segments(text: str, height: int, lean: float) -> Stencil:
    """Return digits, points and dashes as seven segments, `height` pixels high, leaning to the right by `lean` heights."""
    stroke, unit = max(2, height // 9), (height - height // 5) / 2
    step, margin = unit + 2.6 * stroke, 2 * stroke
    stencil = np.zeros((height, int(step * len(text) + 2 * margin + lean * height)), np.uint8)
    x = float(margin)
    for char in text:
        if char == ".":
            cv2.circle(stencil, (int(x - 0.9 * stroke), height - stroke), stroke * 2 // 3, (255,), -1, cv2.LINE_AA)
            continue
        for name in SEGMENTS[char]:
            ends = [_at(corner, x, unit, stroke, lean, height) for corner in _ENDS[name]]
            _stroke(stencil, ends[0], ends[1], stroke)
        x += step
    return stencil


def _at(corner: tuple[int, int], x: float, unit: float, stroke: int, lean: float, height: int) -> NDArray[np.float64]:
    y = stroke + corner[1] * unit
    return np.array([x + corner[0] * unit * 0.9 + lean * (height - y), y])


def _stroke(stencil: Stencil, start: NDArray[np.float64], end: NDArray[np.float64], stroke: int) -> None:
    """Draw one segment, a gap left at both ends: that is what makes such digits hard."""
    along = (end - start) / max(1.0, float(np.linalg.norm(end - start)))
    first, last = start + along * stroke * 0.6, end - along * stroke * 0.6
    cv2.line(stencil, _pixel(first), _pixel(last), (255,), stroke, cv2.LINE_AA)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
