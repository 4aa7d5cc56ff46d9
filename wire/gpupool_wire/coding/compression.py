"""Zstandard, within bounds: what decompresses to another size than was said is refused before it is made.

Source: RFC 8878. The size stands in the frame's header; a frame without it is not one of ours.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from gpupool_wire.errors import RemoteProtocolError

Bytes = NDArray[np.uint8]

#: The level that links are slower than: 1.7 GB/s on pages of text, 0.2 to 0.5 on floats, for some per cent more than level 3.
LEVEL: Final = 1

_mine = threading.local()


def compress(body: Bytes) -> bytes:
    """Return a body (flat uint8) compressed, its size with it."""
    compressor = getattr(_mine, "compressor", None)
    if compressor is None:
        compressor = _mine.compressor = zstandard.ZstdCompressor(level=LEVEL)
    return bytes(compressor.compress(body.data))


def decompress(frames: Sequence[bytes | bytearray | memoryview], nbytes: int) -> Bytes:
    """Return what was compressed, flat; raise RemoteProtocolError where it is not `nbytes` bytes, and make no more than those."""
    packed = frames[0] if len(frames) == 1 else b"".join(frames)
    body = np.empty(nbytes, np.uint8)
    try:
        said = zstandard.frame_content_size(packed)
        if said != nbytes:
            raise RemoteProtocolError(f"a compressed tensor of {nbytes} bytes says it has {said}")
        with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            made = _filled(reader, body)
            if made != nbytes or reader.read(1):
                raise RemoteProtocolError(f"a compressed tensor of {nbytes} bytes came to {made} or more")
    except (zstandard.ZstdError, ValueError) as error:
        raise RemoteProtocolError(f"a compressed tensor is malformed: {error}") from error
    return body


def _filled(reader: zstandard.ZstdDecompressionReader, body: Bytes) -> int:
    """Read into `body` until it is full or there is no more; return how many bytes there were."""
    made = 0
    while made < body.size:
        more = reader.readinto(body.data[made:])
        if not more:
            break
        made += more
    return made


def shuffle(array: NDArray[np.generic]) -> Bytes:
    """Return the bytes of an array, all first ones first, then all second ones: exponents are alike where fractions are not."""
    apart = array.reshape(-1).view(np.uint8).reshape(-1, array.dtype.itemsize)
    together = np.empty((array.dtype.itemsize, array.size), np.uint8)
    for place in range(array.dtype.itemsize):
        together[place] = apart[:, place]
    return together.reshape(-1)


def unshuffle(body: Bytes, itemsize: int) -> Bytes:
    """Return bytes in the order they were in before `shuffle`, flat."""
    together = body.reshape(itemsize, -1)
    apart = np.empty((together.shape[1], itemsize), np.uint8)
    for place in range(itemsize):
        apart[:, place] = together[place]
    return apart.reshape(-1)
