"""Coded frames back to tensors. They come from a stranger: nothing is made that is larger than what their header says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpupool_wire.coding.choice import Method
from gpupool_wire.coding.compression import decompress, unshuffle
from gpupool_wire.coding.images import decode_images
from gpupool_wire.errors import RemoteProtocolError

Buffer = bytes | bytearray | memoryview


def decode_tensor(
    coding: str, dtype: np.dtype[Any], shape: tuple[int, ...], nbytes: int, frames: Sequence[Buffer]
) -> NDArray[Any]:
    """Return the tensor of `nbytes` bytes in all that coded frames hold; raise RemoteProtocolError where they do not."""
    if coding == Method.ZSTD:
        return decompress(frames, nbytes).view(dtype).reshape(shape)
    if coding == Method.SHUFFLE_ZSTD:
        return unshuffle(decompress(frames, nbytes), dtype.itemsize).view(dtype).reshape(shape)
    if coding not in (Method.PALETTE, Method.PALETTE_ZSTD):
        raise RemoteProtocolError(f"tensor coding {coding[:40]!r} is not known here", coding=coding[:40])
    if dtype != np.float32 or len(frames) < 2:
        raise RemoteProtocolError(f"a tensor of {dtype} in {len(frames)} frames has no palette")
    if coding == Method.PALETTE_ZSTD:
        return decode_images(shape, bytes(frames[0]), lambda size: decompress(frames[1:], size))
    return decode_images(shape, bytes(frames[0]), lambda size: _gathered(frames[1:], size))


def _gathered(frames: Sequence[Buffer], nbytes: int) -> NDArray[np.uint8]:
    if sum(map(len, frames)) != nbytes:
        raise RemoteProtocolError(f"a coded tensor keeps {nbytes} pixels, and {sum(map(len, frames))} arrived")
    return np.frombuffer(frames[0] if len(frames) == 1 else b"".join(frames), np.uint8)
