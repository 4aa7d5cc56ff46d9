"""What each slice of a node has used since it was granted: by earlier workers, on earlier nodes, and since.

    broker's word ──begin(so far)──> totals <──add── worker's reports          of(slice) ──> its next worker, metrics
                                        └──end── the slice has gone

A worker counts from its own start; told what was used before it, it answers for the slice. What one that is killed had not yet
reported is lost to all who count, the broker among them, so that they agree.
"""

from __future__ import annotations

from typing import NamedTuple


class Used(NamedTuple):
    """Use of a slice."""

    device_ns: int = 0
    throttled_ns: int = 0
    calls: int = 0
    #: Those of the calls that were executed in batches. Not the broker's to know: counted since the slice came to this node.
    batched_calls: int = 0

    def plus(self, other: Used) -> Used:
        """Return both together."""
        return Used(*(mine + its for mine, its in zip(self, other, strict=True)))


class Totals:
    """The use of the slices of one node."""

    def __init__(self) -> None:
        self._used: dict[str, Used] = {}

    def __repr__(self) -> str:
        return f"<Totals of {len(self._used)} slices>"

    def begin(self, slice_id: str, before: Used) -> None:
        """A slice has come, having used so much; of one that is here already more is known than that."""
        self._used.setdefault(slice_id, before)

    def add(self, slice_id: str, used: Used) -> None:
        """Count what a worker reports; last words of a slice that has gone are the broker's alone to count."""
        if slice_id in self._used:
            self._used[slice_id] = self._used[slice_id].plus(used)

    def of(self, slice_id: str) -> Used:
        """Return what a slice has used."""
        return self._used.get(slice_id, Used())

    def end(self, slice_id: str) -> None:
        """A slice has gone."""
        self._used.pop(slice_id, None)
