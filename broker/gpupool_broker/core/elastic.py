"""Slices whose size follows what is idle: `compute="10..50"` has 10 % at any time and up to 50 % where nobody else wants it.

Whole per cents, handed out one at a time to whoever has the least of them above its own least, so that equal slices grow equally.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from gpupool_broker.core.state import Slice


def shrunk(slices: Iterable[Slice], need_pct: int) -> dict[str, int]:
    """Return new sizes that give back `need_pct` in all, the largest surplus first; less where there is not so much."""
    sizes: dict[str, int] = {}
    for slice_ in sorted(slices, key=lambda s: (-s.surplus_pct, s.slice_id)):
        if need_pct <= 0:
            break
        given = min(need_pct, slice_.surplus_pct)
        if given:
            sizes[slice_.slice_id] = slice_.compute_pct - given
            need_pct -= given
    return sizes


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
