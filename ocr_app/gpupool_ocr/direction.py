"""Whether a line stands on its head: PP-OCR's direction classifier."""

from __future__ import annotations

import cv2
import numpy as np

from gpupool_ocr.pages import Image
from gpupool_ocr.sessions import Session

#: What the network sees (pixels); narrower lines are padded on the device.
HEIGHT, WIDTH = 48, 192
#: As sure as PP-OCR wants to be before it turns a line.
THRESHOLD = 0.9


class Direction:
    """Tells upside-down crops. `session` takes uint8 images and a width, and gives (N, 2): upright, upside down."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._image, self._width = (argument.name for argument in session.get_inputs())

    def upside_down(self, crops: list[Image]) -> list[bool]:
        """Return for each crop whether it is upside down. Crops of one width share a call."""
        widths = [max(1, min(WIDTH, round(HEIGHT * crop.shape[1] / crop.shape[0]))) for crop in crops]
        answer = [False] * len(crops)
        for width in sorted(set(widths)):
            chosen = [index for index, own in enumerate(widths) if own == width]
            images = np.stack([cv2.resize(crops[index], (width, HEIGHT)) for index in chosen])
            (scores,) = self._session.run(None, {self._image: images, self._width: np.array([WIDTH], np.int64)})
            for index, score in zip(chosen, scores, strict=True):
                answer[index] = bool(score[1] > THRESHOLD)
        return answer
