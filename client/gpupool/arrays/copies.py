"""Copies of tensors' frames that a program may write to meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpupool_wire.tensors import Buffer


def copied(frames: Sequence[Buffer]) -> list[Buffer]:
    """Return frames that nobody else writes to: those that are bytes as they are, the others copied.

    They are copied into one piece of memory, for which NumPy asks the kernel for huge pages where it is large: 100 MiB take 17 ms
    so, and 69 ms in pieces of 4 MiB, most of it page faults (`python -m bench.resume` measures uploads).
    """
    nbytes = sum(len(frame) for frame in frames if not isinstance(frame, bytes))
    whole = np.empty(nbytes, np.uint8)
    kept: list[Buffer] = []
    start = 0
    for frame in frames:
        if isinstance(frame, bytes):
            kept.append(frame)
            continue
        piece = whole[start : start + len(frame)]
        np.copyto(piece, np.frombuffer(frame, np.uint8))
        kept.append(piece.data)
        start += len(frame)
    return kept
