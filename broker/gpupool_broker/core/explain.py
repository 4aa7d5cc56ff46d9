"""Why a request would not be granted now, and what would change that. Asks the pool and changes nothing.

what_if(pool, want) ──> where it would go, or: the quota's standing · per device what blocks · who gives way · what to change
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from gpupool_broker.core.admission import HasNoRoom
from gpupool_broker.core.placement import WHOLE_PCT, Ask, has_room, meets, rating_of, spots_of
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.queue import Waiting
from gpupool_broker.core.state import Device, Node, SliceState
from gpupool_broker.core.wants import Want
from gpupool_wire.errors import NotAuthorized, SliceRefused

#: Devices whose slices are looked at for who would have to leave: those that are short of least.
MAX_LOOKED_AT = 50
#: Labels of a device that are named to who wanted others.
MAX_LABELS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one device says to a request."""

    node: str
    device: str
    compute_free_pct: int
    #: What a further slice could be given.
    memory_free_mib: int
    #: Why not there; empty where it fits.
    blocked_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would become of a request."""

    #: The place it would get; None where it would not be granted now.
    node: str | None
    device: str | None
    message: str
    #: What the tenant's quota says against it; empty where nothing.
    quota: str
    devices: list[Verdict] = field(default_factory=list)
    #: What would admit it, the least change first.
    changes: list[str] = field(default_factory=list)
    #: Its place in the queue; None for a request that is not made.
    position: int | None = None
    #: Who would pause for it, and who would be evicted.
    gives_way: list[str] = field(default_factory=list)


def what_if(pool: Pool, want: Want) -> Explanation:
    """Return what would become of a request. Raises NotFound for a slice or reservation it names that is not there."""
    return _explain(pool, want, "")


def why_waiting(pool: Pool, waiting: Waiting) -> Explanation:
    """Return why a request waits, and what would let it in."""
    found = _explain(pool, waiting.want, waiting.request_id)
    order = enumerate(pool.waiting.in_order(pool.standing), 1)
    position = next(place for place, other in order if other is waiting)
    message = f"request {waiting.request_id} is number {position} of {len(pool.waiting)}: {waiting.reason}"
    return dataclasses.replace(found, position=position, message=message)


def _explain(pool: Pool, want: Want, request_id: str) -> Explanation:
    quota, places, message = "", None, ""
    try:
        pool.quotas.check_priority(want.account, want.priority)
        places = pool.admit(want, pool.at_ms, request_id)
    except HasNoRoom as error:
        message = error.message
    except (SliceRefused, NotAuthorized) as error:
        quota = message = error.message
    ask = pool.constrained(want)
    verdicts = [_verdict(node, device, ask) for node in pool.nodes.values() for device in node.devices.values()]
    if places is not None:
        where = ", ".join(f"{place.plan.device} of {place.plan.node}" for place in places)
        plan = places[0].plan
        return Explanation(
            node=plan.node, device=plan.device, message=f"it would be granted on {where}", quota="", devices=verdicts
        )
    gives_way = [] if quota else list(_gives_way(pool, want, request_id))
    would_fit = bool(quota) and want.count == 1 and pool.placer.find(ask) is not None
    changes = [*([f"quota: {quota}"] if quota else []), *([] if would_fit else _changes(pool, want, ask))]
    return Explanation(
        node=None, device=None, message=message, quota=quota, devices=verdicts, changes=changes, gives_way=gives_way
    )


def _gives_way(pool: Pool, want: Want, request_id: str) -> Iterator[str]:
    """Yield what would be done at once for a request that has no room."""
    for sacrifice in pool.sacrifices_for(want, pool.now_ms, request_id):
        where = f"on {sacrifice.device.info.device} of {sacrifice.device.node}"
        for slice_ in sacrifice.evicted:
            yield f"{slice_.slice_id} of {slice_.account} {where} is evicted after {pool.rules.notice_ms / 1000:g} s of notice"
        for slice_ in sacrifice.paused:
            yield f"{slice_.slice_id} of {slice_.account} {where} pauses, keeping its memory"


def _verdict(node: Node, device: Device, ask: Ask) -> Verdict:
    return Verdict(
        node=node.node,
        device=device.info.device,
        compute_free_pct=device.open_pct,
        memory_free_mib=_given(device),
        blocked_by=", ".join(_blocks(node, device, ask)),
    )


def _given(device: Device) -> int:
    return max(0, device.memory_free_mib - device.info.worker_overhead_mib)


def _blocks(node: Node, device: Device, ask: Ask) -> Iterator[str]:
    if not node.is_up:
        yield "its node is lost"
    elif node.is_cordoned:
        yield "its node takes nothing new"
    if not meets(ask.needs(), device, node.labels):
        yield f"it is {device.info.kind} {device.info.model}{_labels(node, device)}"
    if ask.avoids(node.node, device.info.device):
        yield "the request keeps apart from slices there, or near to one elsewhere"
    share = ask.share_pct(rating_of({**node.labels, **device.info.labels}) if ask.tflops else 0)
    if share > WHOLE_PCT:
        yield f"it is not as fast as {ask.tflops} TFLOPS"
    elif share > device.open_pct:
        yield f"{share - device.open_pct} % of compute are missing"
    if ask.memory_mib > _given(device):
        yield f"{ask.memory_mib - _given(device)} MiB of memory are missing"


def _labels(node: Node, device: Device) -> str:
    labels = {**node.labels, **device.info.labels}
    named = ", ".join(f"{name}={value}" for name, value in sorted(labels.items())[:MAX_LABELS])
    return f" with {named}" if named else ""


def _changes(pool: Pool, want: Want, ask: Ask) -> Iterator[str]:
    """Yield what would admit a request that has no place, other than more devices."""
    suitable = [
        device
        for node in pool.nodes.values()
        if node.takes_slices
        for device in node.devices.values()
        if meets(ask.needs(), device, node.labels) and device.booked_mib(ask.memory_mib) <= device.info.memory_mib
    ]
    if want.count > 1:
        nodes = (node for node in pool.nodes.values() if node.takes_slices)
        found = sum(has_room(ask, spot) for node in nodes for spot in spots_of(ask, node))
        if found:
            yield f"asking for {found} devices instead of {want.count}"
    if ask.tflops or want.count > 1:
        return
    if least := max((d.open_pct for d in suitable if ask.memory_mib <= _given(d)), default=0):
        yield f"asking for {least} % of compute instead of {ask.compute_pct} %"
    if memory := max((_given(d) for d in suitable if ask.compute_pct <= d.open_pct), default=0):
        yield f"asking for {memory} MiB of memory instead of {ask.memory_mib} MiB"
    suitable.sort(key=lambda d: (max(0, ask.compute_pct - d.open_pct), max(0, ask.memory_mib - _given(d))))
    leavers = [
        (sum(pool.slices[i].compute_pct for i in ids), ids, device)
        for device in suitable[:MAX_LOOKED_AT]
        if (ids := _leavers(pool, device, ask))
    ]
    if leavers:
        _, ids, device = min(leavers, key=lambda row: (row[0], row[1]))
        whose = ", ".join(f"{i} ({pool.slices[i].tenant}, {pool.slices[i].compute_pct} %)" for i in ids)
        yield f"the end of {whose} on {device.info.device} of {device.node}"


def _leavers(pool: Pool, device: Device, ask: Ask) -> list[str]:
    """Return slices of a device whose end would make room there: the smallest one that does alone, else the largest together."""
    live = (pool.slices[i] for i in device.slices)
    held = sorted((s for s in live if s.state is SliceState.LIVE), key=lambda s: (s.compute_pct, s.memory_mib, s.slice_id))

    def suffices(compute: int, memory: int) -> bool:
        return ask.compute_pct <= device.open_pct + compute and ask.memory_mib <= _given(device) + memory

    for slice_ in held:
        if suffices(slice_.compute_pct, device.booked_mib(slice_.memory_mib)):
            return [slice_.slice_id]
    ids: list[str] = []
    compute = memory = 0
    for slice_ in reversed(held):
        ids.append(slice_.slice_id)
        compute, memory = compute + slice_.compute_pct, memory + device.booked_mib(slice_.memory_mib)
        if suffices(compute, memory):
            return ids
    return []
