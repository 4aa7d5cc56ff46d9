"""What the pool knows: nodes, devices and slices, as plain records that facts change."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gpupool_wire.messages import DeviceInfo, OpenedModel
from gpupool_wire.units import PRIORITY_USUAL, Hold, Policy


def account_of(tenant: str, project: str = "") -> str:
    """Return the name of the account of a tenant, or of a project of it."""
    return f"{tenant}/{project}" if project else tenant


class SliceState(StrEnum):
    """Where a slice is in its life."""

    LIVE = "live"
    STRANDED = "stranded"
    #: Room kept by a reservation, which nobody uses yet.
    RESERVED = "reserved"
    RELEASED = "released"
    EXPIRED = "expired"
    LOST = "lost"
    EVICTED = "evicted"

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to the slice any more."""
        return self not in (SliceState.LIVE, SliceState.STRANDED, SliceState.RESERVED)

    @property
    def has_place(self) -> bool:
        """Whether the slice takes something of a device."""
        return self in (SliceState.LIVE, SliceState.RESERVED)


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
    project: str = ""
    priority: int = PRIORITY_USUAL
    #: What an elastic slice may grow to and shrink to; 0 and 0 for one that keeps its size.
    compute_min_pct: int = 0
    compute_max_pct: int = 0
    #: The request for several devices it belongs to.
    gang: str = ""
    #: The reservation it came out of.
    reservation: str = ""
    #: Who paused it; empty while it runs.
    paused_by: str = ""
    #: Why it will be evicted, and how long it had from the notice on (ms); empty where it will not.
    notice: str = ""
    notice_ms: int = 0
    #: The request, or reservation, that needs its room.
    notice_for: str = ""
    #: What its device has to be, wherever it is placed again.
    tflops: int = 0
    models: list[str] = field(default_factory=list)
    node_labels: dict[str, str] = field(default_factory=dict)
    at_least: dict[str, str] = field(default_factory=dict)

    @property
    def account(self) -> str:
        """Whose quota it counts in."""
        return account_of(self.tenant, self.project)

    @property
    def taken_pct(self) -> int:
        """Compute it takes of its device: nothing while it is paused."""
        return 0 if self.paused_by else self.compute_pct

    @property
    def surplus_pct(self) -> int:
        """Compute it has above its least, which is taken back as soon as anybody asks for it."""
        return self.taken_pct - self.compute_min_pct if self.compute_min_pct and not self.paused_by else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Room on so many devices for an account, in a window of wall clock time."""

    reservation_id: str
    tenant: str
    project: str
    count: int
    compute_pct: int
    memory_mib: int
    kind: str | None
    start_ms: int
    end_ms: int
    by: str

    @property
    def account(self) -> str:
        """Whose it is."""
        return account_of(self.tenant, self.project)


@dataclass(frozen=True, slots=True)
class Lately:
    """What a live slice did as its agent last told; not journalled."""

    memory_bytes: int = 0
    #: Share of the device's time in the last ten seconds, in thousandths of a per cent.
    achieved_millipct: int = 0
    #: Time it had work and no turn in the last ten seconds.
    throttled_ms: int = 0
    #: How many models it has open, and the largest of them.
    model_count: int = 0
    models: tuple[OpenedModel, ...] = ()


@dataclass(slots=True)
class Device:
    """One device of a node and what is left of it."""

    node: str
    info: DeviceInfo
    compute_free_pct: int
    memory_free_mib: int
    slices: set[str] = field(default_factory=set)
    #: Of the compute given out: what elastic slices have above their least.
    surplus_pct: int = 0

    @property
    def open_pct(self) -> int:
        """Compute a further slice could have: what is free, and what elastic slices give back for it."""
        return self.compute_free_pct + self.surplus_pct

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
