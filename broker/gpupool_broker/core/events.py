"""What reaches the core, and what the core wants done. Past tense comes in, imperative goes out."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpupool_broker.core.facts import Entry
from gpupool_wire.errors import GpupoolError
from gpupool_wire.messages import Assignment, BoardHealth, DeviceEnergy, DeviceInfo, HeldSlice, LinkLost, RequestSlice, SliceUse

#: Whoever waits for an answer: opaque to the core, the shell knows what it means.
Caller = object


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something happened. `now_ms` is monotonic and times things; `at_ms` is the wall clock and is only written down."""

    now_ms: int
    at_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentGreeted(Event):
    """An agent registered its node."""

    caller: Caller
    node: str
    door: str
    devices: tuple[DeviceInfo, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    held: tuple[HeldSlice, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentBeat(Event):
    """An agent is alive, and reports what changed."""

    caller: Caller
    node: str
    seq: int
    lost: tuple[LinkLost, ...] = ()
    use: tuple[SliceUse, ...] = ()
    energy: tuple[DeviceEnergy, ...] = ()
    boards: tuple[BoardHealth, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentLeft(Event):
    """An agent said goodbye."""

    node: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceRequested(Event):
    """Somebody asks for a slice."""

    caller: Caller
    tenant: str
    holder: str
    request: RequestSlice


@dataclass(frozen=True, kw_only=True, slots=True)
class ResizeRequested(Event):
    """Somebody asks for another size. `tenant` None may touch every slice."""

    caller: Caller
    tenant: str | None
    slice_id: str
    request_id: str
    compute_pct: int | None = None
    memory_mib: int | None = None
    deadline_ms: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ShrinkAnswered(Event):
    """An agent said whether a slice can do with less memory."""

    node: str
    slice_id: str
    request_id: str
    error: GpupoolError | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseRequested(Event):
    """Somebody gives a slice back."""

    caller: Caller
    tenant: str | None
    slice_id: str
    request_id: str
    reason: str = "released by its holder"


@dataclass(frozen=True, kw_only=True, slots=True)
class LocateRequested(Event):
    """Somebody asks where a slice is."""

    caller: Caller
    tenant: str | None
    slice_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CordonRequested(Event):
    """An admin wants nothing new on a node; with `drain_ms`, nothing at all after that time."""

    caller: Caller
    node: str
    by: str
    drain_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UncordonRequested(Event):
    """An admin gives a node back to the pool."""

    caller: Caller
    node: str
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotaRequested(Event):
    """An admin sets what a tenant may hold. `revision`, where given, is the one the admin has seen."""

    caller: Caller
    tenant: str
    by: str
    compute_pct: int | None = None
    memory_mib: int | None = None
    slices: int | None = None
    revision: int | None = None
    guaranteed_pct: int | None = None
    guaranteed_mib: int | None = None
    max_priority: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequested(Event):
    """Nobody waits for a request any more. `tenant` None may cancel every request."""

    caller: Caller
    tenant: str | None
    request_id: str
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CallerLeft(Event):
    """Whoever asked is gone: what it waits for is granted to nobody."""

    caller: Caller


@dataclass(frozen=True, kw_only=True, slots=True)
class PauseRequested(Event):
    """Somebody wants a slice to stand still, keeping its memory. `tenant` None may touch every slice."""

    caller: Caller
    tenant: str | None
    slice_id: str
    request_id: str
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumeRequested(Event):
    """Somebody wants a paused slice to go on."""

    caller: Caller
    tenant: str | None
    slice_id: str
    request_id: str
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReservationRequested(Event):
    """An admin wants room kept for an account in a window of wall clock time."""

    caller: Caller
    by: str
    request_id: str
    tenant: str
    project: str
    count: int
    compute_pct: int
    memory_mib: int
    kind: str | None
    start_at_ms: int
    end_at_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReservationCancelled(Event):
    """An admin does not want a reservation any more."""

    caller: Caller
    by: str
    reservation_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DefragRequested(Event):
    """An admin wants idle slices moved together. `at_most` is a share of all slices in per cent."""

    caller: Caller
    by: str
    at_most_pct: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryRequested(Event):
    """An admin enters a price, a carbon factor, or that a month is closed."""

    caller: Caller
    entry: Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticked(Event):
    """Time has passed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restarted(Event):
    """The broker has just started, or was stalled: nobody may be called silent for that time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """Something to do once the facts of the turn are stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerSlice(Effect):
    """Tell the caller about a slice as it is now."""

    caller: Caller
    slice_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerGang(Effect):
    """Tell the caller about the slices of one request for several devices."""

    caller: Caller
    gang_id: str
    slice_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerDone(Effect):
    """Tell the caller that it is done, with an id or a value of the core's to show for it."""

    caller: Caller
    value: object


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerNode(Effect):
    """Tell the caller about a node as it is now."""

    caller: Caller
    node: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerTenant(Effect):
    """Tell the caller about a tenant's quota as it is now."""

    caller: Caller
    tenant: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerEntered(Effect):
    """Tell the caller that the entry is in the journal."""

    caller: Caller


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerError(Effect):
    """Tell the caller why not."""

    caller: Caller
    error: GpupoolError


@dataclass(frozen=True, kw_only=True, slots=True)
class WelcomeAgent(Effect):
    """Tell an agent what it should hold."""

    caller: Caller
    node: str
    slices: tuple[Assignment, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerBeat(Effect):
    """Renew a node's slices."""

    caller: Caller
    seq: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GreetAnew(Effect):
    """Tell an agent that its beat comes from a node that is not known (any more)."""

    caller: Caller
    node: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AssignSlice(Effect):
    """Tell an agent to serve a slice as it is now."""

    node: str
    slice: Assignment


@dataclass(frozen=True, kw_only=True, slots=True)
class ShrinkSlice(Effect):
    """Ask an agent whether a slice can do with less memory."""

    node: str
    slice_id: str
    request_id: str
    memory_mib: int
    deadline_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RevokeSlice(Effect):
    """Tell an agent to stop serving a slice."""

    node: str
    slice_id: str
    epoch: int
    reason: str
