"""Which arrays are worth a snapshot: their value is fetched, so that what led to them need not be kept, nor done again.

Doing again costs device time, fetching costs time on the way. A snapshot is taken once it costs a tenth of the device time it
saves (or when what is kept comes near its bound), so it slows a program by a tenth at the most, and making arrays again takes at
most ten times as long as moving them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gpupool.arrays.history import History

#: Looked for after so much device time.
LOOK_NS: Final = 1_000_000_000
#: A snapshot costs at most this part of the device time it saves.
_PART: Final = 0.1
#: What a fetch is assumed to move (bytes/s): a gigabit link.
_BYTES_PER_S: Final = 117_000_000
#: Arrays that are described at a time, to learn how large they are.
MAX_CANDIDATES: Final = 1024
#: Of the bound: from here on snapshots are looked for sooner; and so much one look may take.
_PRESSED, _AT_MOST = 0.75, 0.5
#: Beyond that they are looked for whenever so much more was kept.
_STEP: Final = 0.05


def is_pressed(history: History) -> bool:
    """Whether what is kept comes near its bound."""
    return history.nbytes > history.limit_bytes * _PRESSED and len(history) > 1


def are_due(history: History) -> bool:
    """Whether to look for arrays that are worth a snapshot."""
    return history.since_ns >= LOOK_NS or (is_pressed(history) and history.since_bytes > history.limit_bytes * _STEP)


def candidates(history: History) -> list[int]:
    """Return arrays that may be worth one, those first that take longest to make."""
    history.weigh()
    least_ns = 0 if is_pressed(history) else LOOK_NS // 2
    found = [(entry.reach_ns, array_id) for array_id, entry in history.arrays.items() if entry.sources or entry.loss]
    return [array_id for reach_ns, array_id in sorted(found, reverse=True) if reach_ns > least_ns][:MAX_CANDIDATES]


def chosen(history: History, nbytes: Mapping[int, int]) -> list[int]:
    """Return which of these arrays to fetch, of which the sizes are known by now."""
    is_free, room = is_pressed(history), min(int(history.limit_bytes * _AT_MOST), history.limit_bytes - history.nbytes)
    taken: list[int] = []
    for array_id, size in nbytes.items():
        saved_ns = history.arrays[array_id].reach_ns if array_id in history.arrays else 0
        if size <= room and (is_free or size / _BYTES_PER_S * 1e9 <= saved_ns * _PART):
            room -= size
            taken.append(array_id)
    return taken
