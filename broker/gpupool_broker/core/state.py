"""What the pool knows: nodes, devices and slices, as plain records that facts change."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import Hold, Policy


class SliceState(StrEnum):
    """Where a slice is in its life."""

    LIVE = "live"
    STRANDED = "stranded"
    RELEASED = "released"
    EXPIRED = "expired"
    LOST = "lost"

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to the slice any more."""
        return self not in (SliceState.LIVE, SliceState.STRANDED)


@dataclass(slots=True)
class Slice:
    """One slice, from its grant on. Memory and compute are what the tenant was promised."""

    slice_id: str
    epoch: int
    tenant: str
    node: str
    device: str
    compute_pct: int
    memory_mib: int
    policy: Policy
    hold: Hold
    kind: str | None
    label: str
    holder: str
    client_key: str
    created_ms: int
    state: SliceState = SliceState.LIVE
    ended_ms: int | None = None
    reason: str = ""
    device_ns: int = 0
    throttled_ns: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Lately:
    """What a live slice did as its agent last told; not journalled."""

    memory_bytes: int = 0
    #: Share of the device's time in the last ten seconds, in thousandths of a per cent.
    achieved_millipct: int = 0
    #: Time it had work and no turn in the last ten seconds.
    throttled_ms: int = 0


@dataclass(slots=True)
class Device:
    """One device of a node and what is left of it."""

    node: str
    info: DeviceInfo
    compute_free_pct: int
    memory_free_mib: int
    slices: set[str] = field(default_factory=set)

    @classmethod
    def empty(cls, node: str, info: DeviceInfo) -> Device:
        """Return a device nobody holds anything of."""
        return cls(node=node, info=info, compute_free_pct=100, memory_free_mib=info.memory_mib)

    def booked_mib(self, memory_mib: int) -> int:
        """What a slice of that memory takes here: the worker's own cost is booked beside it."""
        return memory_mib + self.info.worker_overhead_mib


@dataclass(slots=True)
class Node:
    """A machine with an agent."""

    node: str
    door: str
    labels: dict[str, str]
    joined_ms: int
    devices: dict[str, Device]
    is_up: bool = True
    #: Nothing new is placed here; with `drain_ms`, what is here moves or ends within that time.
    is_cordoned: bool = False
    drain_ms: int | None = None

    @property
    def takes_slices(self) -> bool:
        """Whether something new may be placed here."""
        return self.is_up and not self.is_cordoned
