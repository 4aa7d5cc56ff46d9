"""What slices used and the broker has not heard of yet: each nanosecond is reported once.

    worker ──used──> pending ──report(seq)──> on its way ──answered(seq)──> the broker's
                        ^                         |
                        └──── not_answered ───────┘      (the broker was lost and met again)

One report is on its way at a time. Only a broker that dies between taking a report in and answering it counts that one second
twice or not at all; everything else is exact, however long the broker is away. Memory and the last ten seconds are told as
they are now; a slice that did nothing is told again only while its last ten seconds still change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpupool_wire.messages import SliceUse

#: Of the last ten seconds: share of the device's time (thousandths of a per cent), and time with work and no turn (ms).
Lately = tuple[int, int]

#: Rows in one report: its header stays far under the wire's limit, the rest goes with the next.
MAX_ROWS = 4_096


@dataclass(slots=True)
class _Tally:
    epoch: int
    device_ns: int = 0
    throttled_ns: int = 0
    calls: int = 0
    memory_bytes: int = 0
    lately: Lately = (0, 0)


class UsageBook:
    """Usage on its way to the broker, by slice."""

    def __init__(self) -> None:
        self._pending: dict[str, _Tally] = {}
        self._on_its_way: list[SliceUse] = []
        #: Memory, and what was had and waited lately, as last told, of slices that are here.
        self._memory: dict[str, int] = {}
        self._lately: dict[str, Lately] = {}
        self._seq: int | None = None

    def __repr__(self) -> str:
        return f"<UsageBook: {len(self._pending)} slices pending, {len(self._on_its_way)} on their way>"

    def used(self, slice_id: str, epoch: int, *, device_ns: int, throttled_ns: int, calls: int, memory_bytes: int) -> None:
        """Add what a slice used since it was last told; memory is what it holds now. The slice may have ended meanwhile."""
        tally = self._pending.setdefault(slice_id, _Tally(epoch))
        tally.epoch = max(tally.epoch, epoch)
        tally.device_ns += device_ns
        tally.throttled_ns += throttled_ns
        tally.calls += calls
        self._memory[slice_id] = tally.memory_bytes = memory_bytes
        tally.lately = self._lately.get(slice_id, (0, 0))

    def stand(self, standing: Mapping[str, tuple[int, Lately]]) -> None:
        """Take note of every present slice's epoch, and of its share and its waiting in the last ten seconds."""
        for slice_id, (epoch, lately) in standing.items():
            if lately != self._lately.get(slice_id, (0, 0)):
                tally = self._pending.setdefault(slice_id, _Tally(epoch, memory_bytes=self._memory.get(slice_id, 0)))
                tally.lately = lately
        self._lately = {slice_id: lately for slice_id, (_, lately) in standing.items()}
        self._memory = {slice_id: memory for slice_id, memory in self._memory.items() if slice_id in standing}

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
                memory_bytes=newer.memory_bytes if newer else row.memory_bytes,
            )
        self._on_its_way, self._seq = [], None


def _row(slice_id: str, tally: _Tally) -> SliceUse:
    return SliceUse(
        slice_id=slice_id,
        epoch=tally.epoch,
        device_ns=tally.device_ns,
        throttled_ns=tally.throttled_ns,
        calls=tally.calls,
        memory_bytes=tally.memory_bytes,
        achieved_millipct=tally.lately[0],
        throttled_10s_ms=tally.lately[1],
    )
