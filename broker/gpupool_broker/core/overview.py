"""The pool at a glance: sums, what is wrong, who holds how much. Looks at the pool and changes nothing.

    overview(pool) ──> totals · alarms, the worst first · tenants by share      overview(pool, tenant) ──> the same of one tenant

One pass over the slices that have a place: some milliseconds for 10,000 of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gpupool_broker.core.pool import Pool
from gpupool_broker.core.quotas import SEPARATOR, Quota
from gpupool_broker.core.state import Device, Lately, Slice, SliceState
from gpupool_wire.units import MIB

#: A slice starves that had work and no turn for this long of the last ten seconds, and less than this part of its promise.
STARVING_MS, STARVING_PART = 2_000, 0.7
#: An account that holds this part of its limit hears of it before a request is refused.
NEAR_LIMIT: Final = 0.9
_NOTHING: Final = Lately()
Values = dict[str, int | float | str]


@dataclass(slots=True, kw_only=True)
class Totals:
    """What there is and what is given out. Devices of lost nodes offer nothing. Compute in per cent of a device."""

    nodes: int = 0
    nodes_up: int = 0
    devices: int = 0
    devices_up: int = 0
    compute_offered_pct: int = 0
    compute_allocated_pct: int = 0
    #: What executed in the last ten seconds, in thousandths of a per cent of a device.
    busy_millipct: int = 0
    memory_offered_mib: int = 0
    memory_allocated_mib: int = 0
    memory_used_mib: int = 0
    slices: int = 0
    stranded: int = 0
    paused: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that an admin should know of."""

    #: "node_lost", "slice_stranded", "slice_starving", "slice_noticed", "quota_over", "quota_near" or "reservation_lacking".
    kind: str
    #: 2 is bad now, 1 will be.
    weight: int
    #: The node, slice, account or reservation it is about, and the figures compared.
    subject: str
    values: Values = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class TenantShare:
    """What one tenant holds and uses."""

    tenant: str
    compute_pct: int = 0
    memory_mib: int = 0
    busy_millipct: int = 0
    slices: int = 0
    #: What it may hold; None for as much as there is.
    limit_pct: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The pool, or one tenant's part of it."""

    totals: Totals
    alarms: list[Alarm]
    tenants: list[TenantShare]


def overview(pool: Pool, tenant: str | None = None) -> Overview:
    """Return the pool at a glance; with `tenant`, what that tenant holds, uses and waits for, of what it may hold."""
    totals = Totals(nodes=len(pool.nodes))
    shares: dict[str, TenantShare] = {}
    alarms: list[Alarm] = []
    for node in pool.nodes.values():
        totals.nodes_up += node.is_up
        totals.devices += len(node.devices)
        if not node.is_up and tenant is None:
            alarms.append(Alarm(kind="node_lost", weight=2, subject=node.node, values={"devices": len(node.devices)}))
        for device in node.devices.values() if node.is_up else ():
            _add_device(totals, device, whole=tenant is None)
            for slice_ in _held_of(pool, device, tenant):
                _add_slice(pool, totals, shares, alarms, slice_)
    _add_stranded(pool, totals, alarms, tenant)
    alarms += _quota_alarms(pool, tenant)
    alarms += _lacking(pool, tenant)
    _add_holdings(pool, shares, tenant)
    if tenant is not None:
        _narrow(pool, totals, tenant)
    totals.waiting = sum(tenant in (None, waiting.event.tenant) for waiting in pool.waiting)
    alarms.sort(key=lambda alarm: (-alarm.weight, alarm.kind, alarm.subject))
    ranked = sorted(shares.values(), key=lambda share: (-share.compute_pct, share.tenant))
    return Overview(totals=totals, alarms=alarms, tenants=ranked)


def _add_device(totals: Totals, device: Device, *, whole: bool) -> None:
    totals.devices_up += 1
    totals.compute_offered_pct += 100
    totals.memory_offered_mib += device.info.memory_mib
    if whole:
        totals.compute_allocated_pct += 100 - device.compute_free_pct
        totals.memory_allocated_mib += device.info.memory_mib - device.memory_free_mib


def _held_of(pool: Pool, device: Device, tenant: str | None) -> Iterator[Slice]:
    for slice_id in device.slices:
        slice_ = pool.slices[slice_id]
        if slice_.state is SliceState.LIVE and tenant in (None, slice_.tenant):
            yield slice_


def _add_slice(pool: Pool, totals: Totals, shares: dict[str, TenantShare], alarms: list[Alarm], slice_: Slice) -> None:
    lately = pool.lately.get(slice_.slice_id, _NOTHING)
    totals.slices += 1
    totals.paused += bool(slice_.paused_by)
    totals.busy_millipct += lately.achieved_millipct
    totals.memory_used_mib += lately.memory_bytes // MIB
    share = shares.get(slice_.tenant)
    if share is None:
        share = shares[slice_.tenant] = TenantShare(tenant=slice_.tenant)
    share.busy_millipct += lately.achieved_millipct
    if is_starving(slice_, lately):
        values: Values = {
            "achieved_pct": lately.achieved_millipct / 1000,
            "compute_pct": slice_.compute_pct,
            "tenant": slice_.tenant,
        }
        alarms.append(Alarm(kind="slice_starving", weight=2, subject=slice_.slice_id, values=values))
    if slice_.notice:
        values = {"reason": slice_.notice, "tenant": slice_.tenant}
        alarms.append(Alarm(kind="slice_noticed", weight=1, subject=slice_.slice_id, values=values))


def is_starving(slice_: Slice, lately: Lately) -> bool:
    """Whether a slice has work, waits for its turn, and gets less than it was promised."""
    promised = slice_.taken_pct * 1000
    return lately.throttled_ms >= STARVING_MS and lately.achieved_millipct < STARVING_PART * promised


def _add_stranded(pool: Pool, totals: Totals, alarms: list[Alarm], tenant: str | None) -> None:
    for slice_id in pool.stranded:
        slice_ = pool.slices[slice_id]
        if tenant in (None, slice_.tenant):
            totals.stranded += 1
            values: Values = {"reason": slice_.reason, "tenant": slice_.tenant}
            alarms.append(Alarm(kind="slice_stranded", weight=2, subject=slice_id, values=values))


def _quota_alarms(pool: Pool, tenant: str | None) -> Iterator[Alarm]:
    for account, quota in pool.quotas.limits.items():
        if tenant is not None and account.partition(SEPARATOR)[0] != tenant:
            continue
        for dimension, held, limit in _near(pool, account, quota):
            kind, weight = ("quota_over", 2) if held > limit else ("quota_near", 1)
            values: Values = {"dimension": dimension, "held": held, "limit": limit}
            yield Alarm(kind=kind, weight=weight, subject=account, values=values)


def _near(pool: Pool, account: str, quota: Quota) -> Iterator[tuple[str, int, int]]:
    held = pool.quotas.holds(account)
    for dimension, has, limit in (
        ("compute", held.compute_pct, quota.compute_pct),
        ("memory", held.memory_mib, quota.memory_mib),
        ("slices", held.slices, quota.slices),
    ):
        if limit is not None and has and has >= NEAR_LIMIT * limit:
            yield dimension, has, limit


def _lacking(pool: Pool, tenant: str | None) -> Iterator[Alarm]:
    for reservation_id, why in pool.lacking.items():
        reservation = pool.reservations.get(reservation_id)
        if reservation is not None and tenant in (None, reservation.tenant):
            yield Alarm(kind="reservation_lacking", weight=2, subject=reservation_id, values={"reason": why})


def _add_holdings(pool: Pool, shares: dict[str, TenantShare], tenant: str | None) -> None:
    """Put what tenants hold beside what they use: a slice counts also while it waits for another device."""
    for account, held in pool.quotas.held.items():
        if SEPARATOR in account or tenant not in (None, account):
            continue
        share = shares.setdefault(account, TenantShare(tenant=account))
        share.compute_pct, share.memory_mib, share.slices = held.compute_pct, held.memory_mib, held.slices
        share.limit_pct = pool.quotas.of(account).compute_pct


def _narrow(pool: Pool, totals: Totals, tenant: str) -> None:
    """Let the sums be one tenant's: what it holds, of what it may hold where that is limited."""
    held, quota = pool.quotas.holds(tenant), pool.quotas.of(tenant)
    totals.compute_allocated_pct, totals.memory_allocated_mib = held.compute_pct, held.memory_mib
    if quota.compute_pct is not None:
        totals.compute_offered_pct = min(quota.compute_pct, totals.compute_offered_pct)
    if quota.memory_mib is not None:
        totals.memory_offered_mib = min(quota.memory_mib, totals.memory_offered_mib)
