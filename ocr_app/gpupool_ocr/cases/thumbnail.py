"""Small pictures of pages, for lists of them."""

from __future__ import annotations

import cv2
import numpy as np

from gpupool_wire.errors import UsageError

#: Wider is no thumbnail.
MAX_WIDTH = 1_024


def thumbnail(picture: bytes, width: int) -> bytes:
    """Return a picture (PNG) as one of at most `width` pixels a row. Raises UsageError where it is none."""
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UsageError(f"the picture of {len(picture)} bytes is damaged")
    height, present = image.shape[:2]
    if present > width:
        image = cv2.resize(image, (width, max(1, round(height * width / present))), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".png", image)[1].tobytes())
