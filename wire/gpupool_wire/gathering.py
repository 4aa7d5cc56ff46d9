"""One piece of memory out of the frames of a tensor: a view where they lie in one piece already, else a copy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Buffer = bytes | bytearray | memoryview
Bytes = NDArray[np.uint8]


def gather(frames: Sequence[Buffer], nbytes: int) -> Bytes:
    """Return the `nbytes` of all frames as one flat array: a view of what lies in one piece, else a gathered copy.

    Also of a piece of something larger: an array that keeps more memory than its own would not be charged for it.
    """
    block = _block(frames)
    if block is not None and block.nbytes == nbytes:
        return block
    if len(frames) == 1 and block is None:
        return np.frombuffer(frames[0], np.uint8)
    gathered = np.empty(nbytes, np.uint8)
    start = 0
    for frame in frames:
        end = start + len(frame)
        gathered[start:end] = np.frombuffer(frame, np.uint8)
        start = end
    return gathered


def _block(frames: Sequence[Buffer]) -> Bytes | None:
    """Return the array of which all these frames are pieces that lie side by side, or the one piece; None where there is none."""
    block = _owner(frames[0])
    if not isinstance(block, np.ndarray) or not block.flags.c_contiguous:
        return None
    whole = block.reshape(-1).view(np.uint8)
    end = whole.ctypes.data
    for frame in frames:
        if _owner(frame) is not block or np.frombuffer(frame, np.uint8).ctypes.data != end:
            return None if len(frames) > 1 else whole
        end += len(frame)
    return whole


def _owner(frame: Buffer) -> object:
    return frame.obj if isinstance(frame, memoryview) else None
