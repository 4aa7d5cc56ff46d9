"""What slices used and the broker has not heard of yet: each nanosecond is reported once.

    worker ──used──> pending ──report(seq)──> on its way ──answered(seq)──> the broker's
                        ^                         |
                        └──── not_answered ───────┘      (the broker was lost and met again)

One report is on its way at a time. Only a broker that dies between taking a report in and answering it counts that one second
twice or not at all; everything else is exact, however long the broker is away. Memory, models and the last ten seconds are
told as they are now; a slice that did nothing is told again only while its last ten seconds still change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gpupool_wire.messages import OpenedModel, SliceUse

#: Of the last ten seconds: share of the device's time (thousandths of a per cent), and time with work and no turn (ms).
Lately = tuple[int, int]

#: Rows in one report: its header stays under the wire's limit, the rest goes with the next.
MAX_ROWS = 2_048


class Holds(NamedTuple):
    """What a slice holds now."""

    memory_bytes: int = 0
    #: How many models it has open, and the largest of them.
    model_count: int = 0
    models: Sequence[OpenedModel] = ()


NOTHING: Final = Holds()


@dataclass(slots=True)
class _Tally:
    epoch: int
    device_ns: int = 0
    throttled_ns: int = 0
    calls: int = 0
    holds: Holds = NOTHING
    lately: Lately = (0, 0)


class UsageBook:
    """Usage on its way to the broker, by slice."""

    def __init__(self) -> None:
        self._pending: dict[str, _Tally] = {}
        self._on_its_way: list[SliceUse] = []
        #: What is held, and what was had and waited lately, as last told, of slices that are here.
        self._holds: dict[str, Holds] = {}
        self._lately: dict[str, Lately] = {}
        self._seq: int | None = None

    def __repr__(self) -> str:
        return f"<UsageBook: {len(self._pending)} slices pending, {len(self._on_its_way)} on their way>"

    def used(self, slice_id: str, epoch: int, *, device_ns: int, throttled_ns: int, calls: int, holds: Holds) -> None:
        """Add what a slice used since it was last told, and take note of what it holds. The slice may have ended meanwhile."""
        tally = self._pending.setdefault(slice_id, _Tally(epoch))
        tally.epoch = max(tally.epoch, epoch)
        tally.device_ns += device_ns
        tally.throttled_ns += throttled_ns
        tally.calls += calls
        self._holds[slice_id] = tally.holds = holds
        tally.lately = self._lately.get(slice_id, (0, 0))

    def stand(self, standing: Mapping[str, tuple[int, Lately]]) -> None:
        """Take note of every present slice's epoch, and of its share and its waiting in the last ten seconds."""
        for slice_id, (epoch, lately) in standing.items():
            if lately != self._lately.get(slice_id, (0, 0)):
                tally = self._pending.setdefault(slice_id, _Tally(epoch, holds=self._holds.get(slice_id, NOTHING)))
                tally.lately = lately
        self._lately = {slice_id: lately for slice_id, (_, lately) in standing.items()}
        self._holds = {slice_id: holds for slice_id, holds in self._holds.items() if slice_id in standing}

    def report(self, seq: int) -> list[SliceUse]:
        """Return the usage that beat `seq` carries: none while an earlier report is unanswered."""
        if self._seq is not None or not self._pending:
            return []
        chosen = [slice_id for slice_id, _ in zip(self._pending, range(MAX_ROWS), strict=False)]
        self._on_its_way = [_row(slice_id, self._pending.pop(slice_id)) for slice_id in chosen]
        self._seq = seq
        return self._on_its_way

    def answered(self, seq: int) -> None:
        """Beat `seq` was answered: what it carried is the broker's now."""
        if self._seq is not None and seq >= self._seq:
            self._on_its_way, self._seq = [], None

    def not_answered(self) -> None:
        """The link to the broker is a new one: an unanswered report will be repeated."""
        for row in self._on_its_way:
            newer = self._pending.get(row.slice_id)
            self.used(
                row.slice_id,
                row.epoch,
                device_ns=row.device_ns,
                throttled_ns=row.throttled_ns,
                calls=row.calls,
                holds=newer.holds if newer else Holds(row.memory_bytes, row.model_count, row.models),
            )
        self._on_its_way, self._seq = [], None


def _row(slice_id: str, tally: _Tally) -> SliceUse:
    return SliceUse(
        slice_id=slice_id,
        epoch=tally.epoch,
        device_ns=tally.device_ns,
        throttled_ns=tally.throttled_ns,
        calls=tally.calls,
        memory_bytes=tally.holds.memory_bytes,
        achieved_millipct=tally.lately[0],
        throttled_10s_ms=tally.lately[1],
        model_count=tally.holds.model_count,
        models=list(tally.holds.models),
    )
