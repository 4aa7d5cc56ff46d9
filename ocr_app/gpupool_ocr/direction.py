"""Whether a line stands on its head: PP-OCR's direction classifier."""

from __future__ import annotations

import numpy as np

from gpupool_ocr.pages import Image
from gpupool_ocr.recognition import scaled_width, stack
from gpupool_ocr.sessions import Session

#: The width the network sees (pixels), the height being the recogniser's; narrower lines are padded on the device.
WIDTH = 192
#: As sure as PP-OCR wants to be before it turns a line.
THRESHOLD = 0.9


#: So many crops a call: a few milliseconds each on a CPU core.
MAX_BATCH = 16


class Direction:
    """Tells upside-down crops. `session` takes uint8 images and their widths, and gives (N, 2): upright, upside down."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names = [argument.name for argument in session.get_inputs()]

    def upside_down(self, crops: list[Image]) -> list[bool]:
        """Return for each crop whether it is upside down."""
        answer: list[bool] = []
        for start in range(0, len(crops), MAX_BATCH):
            chosen = crops[start : start + MAX_BATCH]
            widths = np.array([min(WIDTH, scaled_width(crop)) for crop in chosen], np.int64)
            inputs = (stack(chosen, widths), widths, np.array([WIDTH], np.int64))
            (scores,) = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
            answer += [bool(score > THRESHOLD) for score in scores[:, 1]]
        return answer
