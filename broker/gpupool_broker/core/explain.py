"""Why a request would not be granted now, and what would change that. Asks the pool and changes nothing.

what_if(pool, tenant, ask) ──> where it would go, or: the quota's standing · per device the dimension that blocks · what to change
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gpupool_broker.core.placement import Ask, NoRoom
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Device, Node
from gpupool_wire.errors import SliceRefused

#: Devices whose slices are looked at for who would have to leave: those that are short of least.
MAX_LOOKED_AT = 50


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


def what_if(pool: Pool, tenant: str, ask: Ask) -> Explanation:
    """Return what would become of a request of this tenant."""
    quota = ""
    try:
        pool.quotas.check(tenant, ask.compute_pct, ask.memory_mib, 1)
    except SliceRefused as error:
        quota = error.message
    plan = pool.placer.place(ask)
    verdicts = [_verdict(node, device, ask) for node in pool.nodes.values() for device in node.devices.values()]
    if isinstance(plan, NoRoom):
        changes = [*([f"quota: {quota}"] if quota else []), *_changes(pool, ask)]
        return Explanation(node=None, device=None, message=plan.message, quota=quota, devices=verdicts, changes=changes)
    message = quota or f"it would be granted on {plan.device} of {plan.node}"
    node, device = (None, None) if quota else (plan.node, plan.device)
    return Explanation(node=node, device=device, message=message, quota=quota, devices=verdicts)


def _verdict(node: Node, device: Device, ask: Ask) -> Verdict:
    return Verdict(
        node=node.node,
        device=device.info.device,
        compute_free_pct=device.compute_free_pct,
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
    if not ask.suits(device):
        yield f"it is of kind {device.info.kind}"
    if ask.compute_pct > device.compute_free_pct:
        yield f"{ask.compute_pct - device.compute_free_pct} % of compute are missing"
    if ask.memory_mib > _given(device):
        yield f"{ask.memory_mib - _given(device)} MiB of memory are missing"


def _changes(pool: Pool, ask: Ask) -> Iterator[str]:
    """Yield what would admit a request that has no place, other than more devices."""
    suitable = [
        device
        for node in pool.nodes.values()
        if node.takes_slices
        for device in node.devices.values()
        if ask.suits(device) and device.booked_mib(ask.memory_mib) <= device.info.memory_mib
    ]
    if least := max((d.compute_free_pct for d in suitable if ask.memory_mib <= _given(d)), default=0):
        yield f"asking for {least} % of compute instead of {ask.compute_pct} %"
    if memory := max((_given(d) for d in suitable if ask.compute_pct <= d.compute_free_pct), default=0):
        yield f"asking for {memory} MiB of memory instead of {ask.memory_mib} MiB"
    suitable.sort(key=lambda d: (max(0, ask.compute_pct - d.compute_free_pct), max(0, ask.memory_mib - _given(d))))
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
    held = sorted((pool.slices[i] for i in device.slices), key=lambda s: (s.compute_pct, s.memory_mib, s.slice_id))

    def suffices(compute: int, memory: int) -> bool:
        return ask.compute_pct <= device.compute_free_pct + compute and ask.memory_mib <= _given(device) + memory

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
