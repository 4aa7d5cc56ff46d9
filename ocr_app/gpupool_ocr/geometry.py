"""Boxes of text: corners in order, grown by a distance, cut out upright, and put in reading order."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gpupool_ocr.pages import Image
from gpupool_ocr.skew import page_slope

#: (4, 2) float32 corners: top left, top right, bottom right, bottom left, as the text reads.
Quad = NDArray[np.float32]

#: A crop this much higher than wide holds vertical text: it is turned so that the reader sees a line.
TALL = 1.5


def order_corners(points: NDArray[Any]) -> Quad:
    """Return four corners of a convex quadrilateral in the order of Quad.

    The left pair and the right pair are told apart by x, then each pair by y; so a tall box keeps its top at the top.
    """
    by_x = points[np.argsort(points[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    top_left, bottom_left = left[np.argsort(left[:, 1], kind="stable")]
    top_right, bottom_right = right[np.argsort(right[:, 1], kind="stable")]
    return np.array([top_left, top_right, bottom_right, bottom_left], np.float32)


def smallest_rectangle(points: NDArray[Any]) -> tuple[Quad, float]:
    """Return the rectangle of least area around points (any number, (n, 2)), and the length of its shorter side."""
    rectangle = cv2.minAreaRect(np.asarray(points, np.float32))
    return order_corners(cv2.boxPoints(rectangle)), float(min(rectangle[1]))


def grow(quad: Quad, ratio: float) -> Quad:
    """Return a rectangle grown on every side by area * ratio / perimeter pixels.

    That distance is the offset of Vatti's clipping in DB (Liao et al., "Real-time Scene Text Detection with Differentiable
    Binarization", AAAI 2020, section 3.5). The text kernel is a rectangle here, so its offset is one too: no clipper is needed.
    """
    (center, size, angle) = cv2.minAreaRect(quad)
    width, height = size
    if width + height == 0:
        return quad
    distance = width * height * ratio / (2 * (width + height))
    grown = (center, (width + 2 * distance, height + 2 * distance), angle)
    return order_corners(cv2.boxPoints(grown))


def cut_out(image: Image, quad: Quad) -> Image:
    """Return the text inside `quad` as an upright crop; tall ones are turned by 90 degrees to the left."""
    width = max(1, int(max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[3] - quad[2]))))
    height = max(1, int(max(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2]))))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(quad, target)
    crop = cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if height >= TALL * width:
        crop = cv2.rotate(crop, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return np.asarray(crop, np.uint8).reshape(*crop.shape[:2], image.shape[2])  # OpenCV drops a single colour's axis


def without_idle_colours(image: Image) -> Image:
    """Return a page (H, W, 3) with one colour only, (H, W, 1), where all three say the same."""
    grey = image[:, :, :1]
    return np.ascontiguousarray(grey) if (grey == image[:, :, 1:]).all() else image


def turn(image: Image) -> Image:
    """Return an image turned by 180 degrees."""
    return np.ascontiguousarray(image[::-1, ::-1])


def turn_back(quad: Quad, height: int, width: int) -> Quad:
    """Return where a quadrilateral of the turned image lies in the one of height x width pixels it was made of.

    Its first corner stays the one where the text begins, which is at the bottom right now.
    """
    return np.array([width, height], np.float32) - quad


def reading_order(quads: list[Quad]) -> list[int]:
    """Return the indexes of boxes in reading order: lines from top to bottom, within a line from left to right.

    A box joins a line where its middle lies within the height of the line's first box. Lines are as askew as their page.
    """
    slope = page_slope([quad.tolist() for quad in quads])
    middles = [float(quad[:, 1].mean() - slope * quad[:, 0].mean()) for quad in quads]
    order: list[int] = []
    line: list[int] = []
    for index in sorted(range(len(quads)), key=lambda i: middles[i]):
        if line:
            first = quads[line[0]]
            half = float(first[2:, 1].mean() - first[:2, 1].mean()) / 2
            if middles[index] - middles[line[0]] > half:
                order += sorted(line, key=lambda i: float(quads[i][:, 0].min()))
                line = []
        line.append(index)
    return order + sorted(line, key=lambda i: float(quads[i][:, 0].min()))
