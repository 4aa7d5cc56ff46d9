"""What REST gives of the pool at a glance, of its last hours, and of a slice over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel

from gpupool_broker.api.scheduling_shapes import WaitingShape, waiting_shape
from gpupool_broker.api.shapes import moment
from gpupool_broker.core.course import Stretch
from gpupool_broker.core.history import Point
from gpupool_broker.core.overview import Alarm, Overview, TenantShare
from gpupool_broker.core.queue import Waiting

#: Alarms and tenants that are told of one by one: more than fit on a page.
MAX_ALARMS, MAX_TENANTS = 50, 20


class TotalsShape(BaseModel):
    """What there is and what is given out. Devices of lost nodes offer nothing; compute in per cent of a device."""

    nodes: int
    nodes_up: int
    devices: int
    devices_up: int
    compute_offered_pct: int
    compute_allocated_pct: int
    #: What executed in the last ten seconds.
    compute_busy_pct: float
    memory_offered_mib: int
    memory_allocated_mib: int
    memory_used_mib: int
    slices: int
    stranded: int
    paused: int
    waiting: int


class AlarmShape(BaseModel):
    """Something that is wrong: `kind` says what, `values` the figures compared."""

    #: node_lost, slice_stranded, slice_starving, slice_noticed, quota_over, quota_near, reservation_lacking.
    kind: str
    #: "bad" now, or "warn" of what is near.
    severity: str
    #: The node, slice, account or reservation it is about.
    subject: str
    values: dict[str, int | float | str]


class TenantShareShape(BaseModel):
    """What a tenant holds and uses."""

    tenant: str
    compute_pct: int
    busy_pct: float
    memory_mib: int
    slices: int
    limit_pct: int | None


class OverviewShape(BaseModel):
    """The pool at a glance; for a tenant's token, that tenant's part of it."""

    #: Whose: empty for the whole pool.
    tenant: str
    totals: TotalsShape
    #: The worst first, at most fifty; and how many there are.
    alarms: list[AlarmShape]
    alarm_count: int
    #: By what they hold, at most twenty; and how many there are.
    tenants: list[TenantShareShape]
    tenant_count: int
    #: The first in the queue.
    waiting: list[WaitingShape]


class PointShape(BaseModel):
    """The pool at one time, in per cent of a device."""

    at: datetime
    offered_pct: float
    allocated_pct: float
    busy_pct: float


class StretchShape(BaseModel):
    """A slice in one span of time that begins at `at`."""

    at: datetime
    granted_pct: float
    achieved_pct: float
    throttled_ms: float


class CourseShape(BaseModel):
    """A slice over time."""

    slice_id: str
    since: datetime
    until: datetime
    stretches: list[StretchShape]


def overview_shape(seen: Overview, tenant: str | None, waiting: Sequence[tuple[int, Waiting]]) -> OverviewShape:
    """Return the pool at a glance as REST shows it."""
    totals = seen.totals
    figures = {name: getattr(totals, name) for name in TotalsShape.model_fields if name != "compute_busy_pct"}
    return OverviewShape(
        tenant=tenant or "",
        totals=TotalsShape(**figures, compute_busy_pct=round(totals.busy_millipct / 1000, 1)),
        alarms=[_alarm(alarm) for alarm in seen.alarms[:MAX_ALARMS]],
        alarm_count=len(seen.alarms),
        tenants=[_share(share) for share in seen.tenants[:MAX_TENANTS]],
        tenant_count=len(seen.tenants),
        waiting=[waiting_shape(position, one) for position, one in waiting],
    )


def _alarm(alarm: Alarm) -> AlarmShape:
    severity = "bad" if alarm.weight > 1 else "warn"
    return AlarmShape(kind=alarm.kind, severity=severity, subject=alarm.subject, values=alarm.values)


def _share(share: TenantShare) -> TenantShareShape:
    return TenantShareShape(
        tenant=share.tenant,
        compute_pct=share.compute_pct,
        busy_pct=round(share.busy_millipct / 1000, 1),
        memory_mib=share.memory_mib,
        slices=share.slices,
        limit_pct=share.limit_pct,
    )


def point_shape(point: Point) -> PointShape:
    """Return one point of the history as REST shows it."""
    return PointShape(
        at=moment(point.at_ms),
        offered_pct=round(point.offered_pct, 1),
        allocated_pct=round(point.allocated_pct, 1),
        busy_pct=round(point.busy_pct, 1),
    )


def stretch_shape(stretch: Stretch) -> StretchShape:
    """Return one span of a slice's life as REST shows it."""
    return StretchShape(
        at=moment(stretch.at_ms),
        granted_pct=round(stretch.granted_pct, 2),
        achieved_pct=round(stretch.achieved_pct, 2),
        throttled_ms=round(stretch.throttled_ms, 1),
    )
