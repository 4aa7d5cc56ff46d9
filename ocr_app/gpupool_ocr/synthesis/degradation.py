"""What happens to a page before it is read: desk, camera, scanner, compression. Polygons move with the picture.

Each takes a picture (uint8, (H, W, 3)), a strength from 0 (nothing) to 1 (hardly readable) and a generator of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gpupool_ocr.pages import Image
from gpupool_ocr.synthesis.page import Drawn, Label
from gpupool_wire.errors import UsageError

Generator = np.random.Generator


def blur(image: Image, strength: float, _: Generator) -> Image:
    """Out of focus: a Gaussian of up to 3 pixels."""
    return _u8(cv2.GaussianBlur(image, (0, 0), max(0.01, 3 * strength)))


def noise(image: Image, strength: float, rng: Generator) -> Image:
    """A dark room: Gaussian noise of up to 60 of 255."""
    return _u8(np.clip(image + rng.normal(0, 60 * strength, image.shape), 0, 255))


def jpeg(image: Image, strength: float, _: Generator) -> Image:
    """Compression: quality 95 down to 10."""
    quality = round(95 - 85 * strength)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return _u8(cv2.imdecode(data, cv2.IMREAD_COLOR))


def shadow(image: Image, strength: float, rng: Generator) -> Image:
    """Light from one side: down to a third across the page."""
    height, width = image.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    across = np.cos(angle) * np.linspace(-1, 1, width)[None, :] + np.sin(angle) * np.linspace(-1, 1, height)[:, None]
    light = 1 - strength * 0.67 / (1 + np.exp(-4 * across))
    return _u8(image * light[:, :, None])


def coarse(image: Image, strength: float, _: Generator) -> Image:
    """Too few pixels: made smaller by up to four times, and large again."""
    height, width = image.shape[:2]
    factor = 1 + 3 * strength
    small = cv2.resize(image, (max(8, round(width / factor)), max(8, round(height / factor))), interpolation=cv2.INTER_AREA)
    return _u8(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def faded(image: Image, strength: float, _: Generator) -> Image:
    """Old thermal paper: up to 85 % of the contrast gone."""
    top = float(image.max())
    return _u8(top - (top - image) * (1 - 0.85 * strength))


#: In the order in which they happen, behind MOVES.
DEGRADATIONS: Mapping[str, Callable[[Image, float, Generator], Image]] = {
    "faded": faded,
    "shadow": shadow,
    "blur": blur,
    "coarse": coarse,
    "noise": noise,
    "jpeg": jpeg,
}


def turned(drawn: Drawn, strength: float, rng: Generator) -> Drawn:
    """Laid down askew: turned by up to 15 degrees either way, at least by half of that, a desk around it."""
    height, width = drawn.image.shape[:2]
    angle = 15 * strength * rng.uniform(0.5, 1.0) * rng.choice([-1, 1])
    matrix = np.vstack([cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0), [0, 0, 1]])
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    low, high = (bound(_moved(corners, matrix), 0) for bound in (np.min, np.max))
    shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])
    return _laid(drawn, shift @ matrix, (int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1), rng)


def photographed(drawn: Drawn, strength: float, rng: Generator) -> Drawn:
    """As a camera sees it: corners moved by up to a tenth of the shorter side, a desk around it."""
    height, width = drawn.image.shape[:2]
    reach = 0.1 * strength * min(height, width)
    margin = round(reach) + 2
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    target = corners + margin + rng.uniform(-reach, reach, (4, 2)).astype(np.float32)
    return _laid(drawn, cv2.getPerspectiveTransform(corners, target), (width + 2 * margin, height + 2 * margin), rng)


#: What moves the whole page, polygons with it, in the order in which it happens.
MOVES: Mapping[str, Callable[[Drawn, float, Generator], Drawn]] = {"rotation": turned, "perspective": photographed}
NAMES = (*MOVES, *DEGRADATIONS)


def parse_degradations(text: str) -> dict[str, float]:
    """Return strengths by name from `blur=0.3,jpeg=0.5`. Raises UsageError for others."""
    wanted: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, strength = part.partition("=")
        if name not in NAMES:
            raise UsageError(f"there is no degradation {name!r}; there are: {', '.join(NAMES)}")
        try:
            wanted[name] = float(strength or "0.3")
        except ValueError as error:
            raise UsageError(f"{part!r}: the strength is a number from 0 to 1") from error
        if not 0 <= wanted[name] <= 1:
            raise UsageError(f"{part!r}: the strength is a number from 0 to 1")
    return wanted


def degrade(drawn: Drawn, wanted: Mapping[str, float], rng: Generator) -> Drawn:
    """Return a page after what is wanted of MOVES and DEGRADATIONS happened to it, each up to its strength."""
    for name, move in MOVES.items():
        if wanted.get(name):
            drawn = move(drawn, wanted[name], rng)
    image = drawn.image
    for name, change in DEGRADATIONS.items():
        if wanted.get(name):
            image = change(image, wanted[name] * rng.uniform(0.5, 1.0), rng)
    return replace(drawn, image=image)


def _laid(drawn: Drawn, matrix: NDArray[Any], size: tuple[int, int], rng: Generator) -> Drawn:
    """Return a page moved by a homography onto a desk of that size (width, height)."""
    desk = tuple(int(value) for value in rng.integers(60, 200, 3))
    image = cv2.warpPerspective(drawn.image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=desk)
    labels = tuple(Label(_moved(label.polygon, matrix), label.text) for label in drawn.labels)
    return replace(drawn, image=_u8(image), labels=labels)


def _moved(polygon: NDArray[np.float64], matrix: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(cv2.perspectiveTransform(polygon[None].astype(np.float64), matrix)[0], np.float64)


def _u8(image: object) -> Image:
    return np.ascontiguousarray(np.asarray(image), np.uint8)
