"""Where arrays begin in memory: what arrives in a frame begins anywhere."""

from __future__ import annotations

import numpy as np

from gpupool_wire.tensors import Value

#: Frames up to this size are copied out of libzmq's buffer at once: quicker than asking where in it they begin.
TINY_BYTES = 4096


def aligned(value: Value, boundary: int) -> Value:
    """Return a value whose arrays begin on a boundary: themselves where they do, else copies (which NumPy aligns to 16).

    Tiny arrays came as `bytes`, whose contents Python aligns as well.
    """
    if isinstance(value, list):
        return [aligned(item, boundary) for item in value]
    if isinstance(value, np.ndarray) and value.nbytes > TINY_BYTES and value.ctypes.data % boundary:
        return value.copy()
    return value
