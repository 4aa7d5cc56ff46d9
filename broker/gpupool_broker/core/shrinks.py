"""Slices that are asked to do with less memory: only their agent knows whether that is possible.

asked for ──ShrinkSlice──> agent ──fits by now──> resized, like any other
   │                         └────does not──────> refused with the agent's numbers
   └── slice ended, moved or stranded, or no answer in time ──> refused
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gpupool_broker.core import events as e
from gpupool_broker.core.state import Slice, SliceState
from gpupool_wire.errors import Conflict, PoolUnreachable
from gpupool_wire.limits import ANSWER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrink:
    """A resize that waits for its agent."""

    event: e.ResizeRequested
    epoch: int
    compute_pct: int
    memory_mib: int
    until_ms: int


class Shrinks:
    """The shrinks under way, one a slice at most."""

    def __init__(self) -> None:
        self._pending: dict[str, Shrink] = {}

    def __repr__(self) -> str:
        return f"<Shrinks, {len(self._pending)} under way>"

    def __len__(self) -> int:
        return len(self._pending)

    def begin(self, slice_: Slice, event: e.ResizeRequested, compute_pct: int, memory_mib: int) -> e.Effect:
        """Return what to tell the agent. A repeat of the request takes the place of the first; raises Conflict for another."""
        known = self._pending.get(slice_.slice_id)
        if known is not None and known.event.request_id != event.request_id:
            raise Conflict(f"slice {slice_.slice_id} is being shrunk to {known.memory_mib} MiB: wait until that is over")
        until_ms = event.now_ms + event.deadline_ms + int(ANSWER_S * 1000)
        self._pending[slice_.slice_id] = Shrink(
            event=event, epoch=slice_.epoch, compute_pct=compute_pct, memory_mib=memory_mib, until_ms=until_ms
        )
        return e.ShrinkSlice(
            node=slice_.node,
            slice_id=slice_.slice_id,
            request_id=event.request_id,
            memory_mib=memory_mib,
            deadline_ms=event.deadline_ms,
        )

    def answered(self, slice_id: str, request_id: str) -> Shrink | None:
        """Return the shrink an agent answers, which is over now; None for one that nobody waits for any more."""
        shrink = self._pending.get(slice_id)
        if shrink is None or shrink.event.request_id != request_id:
            return None
        return self._pending.pop(slice_id)

    def over(self, slices: Mapping[str, Slice], now_ms: int) -> Iterator[e.Effect]:
        """Yield the answers to those that wait in vain."""
        for slice_id, shrink in list(self._pending.items()):
            slice_ = slices.get(slice_id)
            if slice_ is None or slice_.state is not SliceState.LIVE or slice_.epoch != shrink.epoch:
                del self._pending[slice_id]
                yield _refused(
                    shrink, Conflict(f"slice {slice_id} has changed while it was to shrink: look at it, and ask again")
                )
            elif now_ms >= shrink.until_ms:
                del self._pending[slice_id]
                yield _refused(shrink, PoolUnreachable(f"node {slice_.node} did not say whether slice {slice_id} can shrink"))


def _refused(shrink: Shrink, error: Conflict | PoolUnreachable) -> e.Effect:
    return e.AnswerError(caller=shrink.event.caller, error=error)
