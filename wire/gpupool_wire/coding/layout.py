"""What of a tensor are images: batches of planes of pixels, and how much of each is only padding on the right.

    (N, C, H, W) ──> N images of C channels of H rows of W columns          (H, W) ──> 1 image of 1 channel
    a row: [pixels ......... | c c c c c]     kept: pixels' columns, and c

Batches of text lines are padded to the widest one, with a value that no pixel has: it would be one too many for a palette.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: More images than so many in one tensor are not trimmed: each takes a few microseconds and some bytes of the recipe.
MAX_TRIMMED_IMAGES = 1024
#: Narrower ones are not, either: they are no images, and working on them row by row is slow.
MIN_TRIMMED_COLUMNS = 16
#: Channels that may have a palette each: red, green, blue and opacity. What has more is no image, or all its channels are alike.
MAX_CHANNELS = 4


class Layout(NamedTuple):
    """The four sides of a tensor seen as images."""

    images: int
    channels: int
    rows: int
    columns: int

    @property
    def own_palettes(self) -> int:
        """How many palettes its channels may have, where one for all does not do."""
        return self.channels if self.channels <= MAX_CHANNELS else 1


class Trimmed(NamedTuple):
    """How many columns are kept of each image, and the bits of the value (uint32) that the others are full of."""

    widths: list[int]
    pads: NDArray[np.uint32]

    def nbytes_of(self, layout: Layout) -> int:
        """Return how many pixels are kept."""
        return layout.channels * layout.rows * sum(self.widths)


def layout_of(shape: Sequence[int]) -> Layout:
    """Return the layout of a shape; the leading axes of what has more than four are all images."""
    columns = shape[-1] if shape else 1
    rows = shape[-2] if len(shape) > 1 else 1
    channels = shape[-3] if len(shape) > 2 else 1
    images = 1
    for side in shape[:-3]:
        images *= side
    return Layout(images, channels, rows, columns)


def trim(bits: NDArray[np.uint32]) -> Trimmed | None:
    """Return what constant padding on the right leaves of images (N, C, H, W), as bits; None where nothing is to be cut off."""
    if not bits.size or bits.shape[0] > MAX_TRIMMED_IMAGES or bits.shape[3] < MIN_TRIMMED_COLUMNS:
        return None
    widths = [_kept_columns(image) for image in bits]
    if min(widths) == bits.shape[3]:
        return None
    return Trimmed(widths, np.ascontiguousarray(bits[:, 0, 0, -1]))


def _kept_columns(image: NDArray[np.uint32]) -> int:
    """Return how many columns of an image (C, H, W) are not constant padding."""
    pad, columns = image[0, 0, -1], int(image.shape[2])
    if image[-1, -1, -1] != pad:
        return columns  # so most images end here
    different = image[0, 0] != pad
    suspect = columns - int(np.argmax(different[::-1])) if different.any() else 0
    is_pad = (image[:, :, suspect:] == pad).all((0, 1))
    if not is_pad[-1]:
        return columns
    return suspect if is_pad.all() else columns - int(np.argmin(is_pad[::-1]))
