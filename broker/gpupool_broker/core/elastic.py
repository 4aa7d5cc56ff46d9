"""Slices whose size follows what is idle: `compute="10..50"` has 10 % at any time and up to 50 % where nobody else wants it.

Whole per cents, handed out one at a time to whoever has the least of them above its own least, so that equal slices grow equally.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

from gpupool_broker.core.state import Slice


def shrink(slices: Sequence[Slice], need_pct: int, sizes: dict[str, int]) -> int:
    """Take `need_pct` in all from slices, the largest surplus first; return how much was taken.

    `sizes` are new sizes decided already; those decided here are added to them.
    """
    taken = 0
    surplus = {s.slice_id: s.surplus_pct + sizes.get(s.slice_id, s.compute_pct) - s.compute_pct for s in slices if s.surplus_pct}
    compute = {s.slice_id: s.compute_pct - s.surplus_pct for s in slices}
    for slice_id in sorted(surplus, key=lambda i: (-surplus[i], i)):
        given = min(need_pct - taken, surplus[slice_id])
        if given <= 0:
            continue
        sizes[slice_id] = compute[slice_id] + surplus[slice_id] - given
        taken += given
    return taken


def grown(free_pct: int, slices: Iterable[Slice], take: Callable[[Slice], bool]) -> dict[str, int]:
    """Return new sizes that take up `free_pct` of a device. `take` counts one per cent more for a slice, or says it may not."""
    heap = [(s.surplus_pct, s.slice_id, s) for s in slices if s.compute_pct < s.compute_max_pct]
    heapq.heapify(heap)
    sizes: dict[str, int] = {}
    while free_pct and heap:
        surplus, slice_id, slice_ = heapq.heappop(heap)
        if not take(slice_):
            continue
        sizes[slice_id] = sizes.get(slice_id, slice_.compute_pct) + 1
        free_pct -= 1
        if sizes[slice_id] < slice_.compute_max_pct:
            heapq.heappush(heap, (surplus + 1, slice_id, slice_))
    return sizes
