"""What happened, as the journal keeps it.

A fact was decided once and is never decided again: replaying the facts from empty gives the state, to the last unit. Times are
wall clock milliseconds since 1970 (UTC), for reports; nothing is timed by them. A fact only ever gains fields, at the end, with a
default; one whose meaning changes gets a new name.
"""

from __future__ import annotations

import msgspec

from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import PRIORITY_USUAL, Hold, Policy

#: Of the facts below. Written with every record, so that a newer broker can read an older journal.
SCHEMA_VERSION = 1


class Fact(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="fact", omit_defaults=True):
    """Something the broker accepted."""

    at_ms: int


class NodeJoined(Fact, frozen=True, kw_only=True):
    """An agent greeted with its devices, for the first time or again."""

    node: str
    door: str
    devices: list[DeviceInfo] = []
    labels: dict[str, str] = {}


class NodeLost(Fact, frozen=True, kw_only=True):
    """An agent fell silent, or left."""

    node: str
    reason: str


class NodeCordoned(Fact, frozen=True, kw_only=True):
    """Nothing new is placed on a node; with a deadline, what it holds moves elsewhere or ends then."""

    node: str
    by: str
    #: Milliseconds the slices have to move; None leaves them alone.
    drain_ms: int | None = None


class NodeUncordoned(Fact, frozen=True, kw_only=True):
    """A node takes new slices again."""

    node: str
    by: str


class QuotaSet(Fact, frozen=True, kw_only=True):
    """An account may hold so much at most, and at least so much when it asks; None limits, and guarantees, nothing."""

    #: A tenant, or a project as "tenant/project".
    tenant: str
    by: str
    compute_pct: int | None = None
    memory_mib: int | None = None
    slices: int | None = None
    guaranteed_pct: int | None = None
    guaranteed_mib: int | None = None
    max_priority: int | None = None


class SliceGranted(Fact, frozen=True, kw_only=True):
    """A slice was given to a tenant."""

    slice_id: str
    epoch: int
    request_id: str
    tenant: str
    node: str
    device: str
    compute_pct: int
    memory_mib: int
    policy: Policy
    hold: Hold
    kind: str | None = None
    label: str = ""
    holder: str = ""
    client_key: str = ""
    project: str = ""
    priority: int = PRIORITY_USUAL
    #: The range of an elastic slice; 0 and 0 for one that keeps its size.
    compute_min_pct: int = 0
    compute_max_pct: int = 0
    #: The request for several devices it belongs to.
    gang: str = ""
    reservation: str = ""
    #: How long the request was in the queue.
    waited_ms: int = 0
    #: What its device has to be, wherever it is placed again.
    tflops: int = 0
    models: list[str] = []
    node_labels: dict[str, str] = {}
    at_least: dict[str, str] = {}


class SliceResized(Fact, frozen=True, kw_only=True):
    """A live slice has another size."""

    slice_id: str
    epoch: int
    compute_pct: int
    memory_mib: int
    request_id: str = ""
    #: Why, where nobody asked for it: an elastic slice follows what is idle.
    reason: str = ""


class SlicePaused(Fact, frozen=True, kw_only=True):
    """A slice keeps its memory and gives up its compute for a while."""

    slice_id: str
    epoch: int
    #: Who said so: an admin, its tenant, or the scheduler.
    by: str
    reason: str
    request_id: str = ""


class SliceResumed(Fact, frozen=True, kw_only=True):
    """A paused slice has its compute again."""

    slice_id: str
    epoch: int
    by: str
    request_id: str = ""


class SliceNoticed(Fact, frozen=True, kw_only=True):
    """A slice was told that it will be evicted; an empty reason takes that back."""

    slice_id: str
    epoch: int
    reason: str
    notice_ms: int = 0
    #: The request that needs its room.
    request_id: str = ""


class ReservationMade(Fact, frozen=True, kw_only=True):
    """Room on so many devices is kept for an account from `start_ms` to `end_ms` (wall clock)."""

    reservation_id: str
    tenant: str
    by: str
    count: int
    compute_pct: int
    memory_mib: int
    start_ms: int
    end_ms: int
    project: str = ""
    kind: str | None = None
    request_id: str = ""


class ReservationHeld(Fact, frozen=True, kw_only=True):
    """One device's worth of a reservation is kept from now on, under an id like a slice's."""

    reservation_id: str
    slice_id: str
    node: str
    device: str


class ReservationEnded(Fact, frozen=True, kw_only=True):
    """A reservation is over, or was cancelled."""

    reservation_id: str
    reason: str


class SliceMoved(Fact, frozen=True, kw_only=True):
    """A slice was placed again, on another device or on one that came back."""

    slice_id: str
    epoch: int
    node: str
    device: str
    #: Its size there; None where that is what it was.
    compute_pct: int | None = None


class SliceStranded(Fact, frozen=True, kw_only=True):
    """A slice lost its device and holds no resources until it is placed again."""

    slice_id: str
    epoch: int
    reason: str


class SliceEnded(Fact, frozen=True, kw_only=True):
    """A slice is over and its resources are back."""

    slice_id: str
    epoch: int
    #: "released", "expired", "lost" or "evicted".
    how: str
    reason: str = ""
    request_id: str = ""


class SliceUsed(Fact, frozen=True, kw_only=True):
    """What a slice used since the last such fact: what billing adds up."""

    slice_id: str
    device_ns: int
    throttled_ns: int
    calls: int
    #: The time up to `at_ms` in which it was used; 0 in records that do not say.
    span_ms: int = 0


class DevicePowered(Fact, frozen=True, kw_only=True):
    """The energy a device took in the time up to `at_ms`, as its agent measured it."""

    node: str
    device: str
    span_ms: int
    energy_mj: int


class Entry(Fact, frozen=True, kw_only=True):
    """Something an admin entered for the reports; no slice is decided by it."""

    by: str


class PriceSet(Entry, frozen=True, kw_only=True):
    """What a device of a model costs from a day on. Rates are decimal numbers, as texts."""

    #: First day the rates hold (YYYY-MM-DD), from its midnight in the zone of the report.
    valid_from: str
    currency: str
    #: "" for every model without a price of its own.
    model: str = ""
    #: For holding one per cent of a device's compute for an hour, and one GiB of its memory.
    reserved_pct_hour: str = "0"
    memory_gib_hour: str = "0"
    #: For an hour of device time used, the part a burst slice used beyond what it held apart.
    used_hour: str = "0"
    burst_hour: str = "0"
    #: On top, for one per cent held for an hour and not used.
    idle_pct_hour: str = "0"
    energy_kwh: str = "0"


class CarbonSet(Entry, frozen=True, kw_only=True):
    """How many grams of CO2 a kilowatt-hour stands for from a day on; a decimal number, as text."""

    valid_from: str
    grams_per_kwh: str


class MonthFrozen(Entry, frozen=True, kw_only=True):
    """A month's report was closed; it is kept whole under its hash."""

    month: str
    zone: str
    sha256: str
    #: How many prices and factors had been entered when it was made: later ones are not in it.
    entries: int = 0
    #: Whether the hash leaves the advice out, which counts minutes: those are not kept for good where use is folded.
    without_advice: bool = False


AnyFact = (
    NodeJoined
    | NodeLost
    | NodeCordoned
    | NodeUncordoned
    | QuotaSet
    | SliceGranted
    | SliceResized
    | SlicePaused
    | SliceResumed
    | SliceNoticed
    | ReservationMade
    | ReservationHeld
    | ReservationEnded
    | SliceMoved
    | SliceStranded
    | SliceEnded
    | SliceUsed
    | DevicePowered
    | PriceSet
    | CarbonSet
    | MonthFrozen
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyFact] = msgspec.msgpack.Decoder(AnyFact)


def encode_fact(fact: Fact) -> bytes:
    """Return the record of a fact."""
    return _encoder.encode(fact)


def decode_fact(record: bytes) -> AnyFact:
    """Return the fact of a record; raise msgspec.MsgspecError where it is none."""
    return _decoder.decode(record)
