"""What REST takes and gives about quotas, the queue, reservations and the moving of slices."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gpupool_broker.api.shapes import moment
from gpupool_broker.api.wanted import Amount, Short
from gpupool_broker.core.defrag import MAX_MOVED_PCT, Defrag
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.queue import Waiting
from gpupool_broker.core.state import Reservation, SliceState
from gpupool_wire.units import GPUS_MAX, PRIORITY_MAX, parse_memory

Limit = Annotated[int, Field(ge=0, le=100_000_000)]


class QuotaShape(BaseModel):
    """What an account may hold and is guaranteed; null limits, and guarantees, nothing."""

    compute_pct: int | None
    memory_mib: int | None
    slices: int | None
    guaranteed_pct: int | None
    guaranteed_mib: int | None
    #: The highest priority its requests may have; null is the usual one.
    max_priority: int | None
    #: Rises with every change; send it back with a change to be told where somebody else was quicker.
    revision: int


class TenantShape(BaseModel):
    """What a tenant, or a project ("tenant/project"), holds and may hold."""

    tenant: str
    compute_pct: int
    memory_mib: int
    slices: int
    #: Compute it holds beyond its guarantee, which others can ask back; and of that what elastic slices give back at once.
    borrowed_pct: int
    elastic_pct: int
    #: How much of its due it has had lately: of requests with equal priority, those of the lowest standing are served first.
    standing: float
    quota: QuotaShape
    #: Where it holds more than it may, since the quota was lowered: nothing is taken away, nothing more is given.
    over: list[str]


class QuotaRequest(BaseModel):
    """Set what a tenant may hold: per cent of devices (200 are two whole ones), memory, slices. Left out is not limited."""

    model_config = ConfigDict(extra="forbid")

    compute: Limit | None = None
    memory: Amount | None = None
    slices: Limit | None = None
    guaranteed_compute: Limit | None = None
    guaranteed_memory: Amount | None = None
    max_priority: Annotated[int, Field(ge=0, le=PRIORITY_MAX)] | None = None
    revision: Annotated[int, Field(ge=0)] | None = None

    def as_limits(self) -> dict[str, int | None]:
        """Return the limits as the core names them. Raises UsageError for an amount of memory that cannot be."""
        return {
            "compute_pct": self.compute,
            "memory_mib": _mib(self.memory),
            "slices": self.slices,
            "guaranteed_pct": self.guaranteed_compute,
            "guaranteed_mib": _mib(self.guaranteed_memory),
            "max_priority": self.max_priority,
            "revision": self.revision,
        }


def _mib(amount: int | str | None) -> int | None:
    return None if amount is None else 0 if amount in (0, "0") else parse_memory(amount)


class VerdictShape(BaseModel):
    """What one device says to a request."""

    node: str
    device: str
    compute_free_pct: int
    memory_free_mib: int
    #: Why not there; empty where it fits.
    blocked_by: str


class ExplanationShape(BaseModel):
    """What would become of a request."""

    #: The place it would get; null where it would not be granted now.
    node: str | None
    device: str | None
    message: str
    quota: str
    #: Its place in the queue; null for a request that is not made.
    position: int | None
    #: What would be done to make room for it: who pauses, who is evicted.
    gives_way: list[str]
    #: What would admit it.
    changes: list[str]
    devices: list[VerdictShape]


class WaitingShape(BaseModel):
    """A request in the queue."""

    position: int
    request_id: str
    tenant: str
    project: str
    priority: int
    holder: str
    label: str
    gpus: int
    compute_pct: int
    memory_mib: int
    kind: str | None
    waits_since: datetime
    reason: str


class Cancelled(BaseModel):
    """What was cancelled."""

    request_id: str


class ReservationRequest(BaseModel):
    """Keep room on so many devices in a window of time; without `start` it begins now."""

    model_config = ConfigDict(extra="forbid")

    tenant: Annotated[str, Field(min_length=1, max_length=512, pattern="^[^/]*$")]
    project: Annotated[str, Field(max_length=512, pattern="^[^/]*$")] = ""
    gpus: Annotated[int, Field(ge=1, le=GPUS_MAX)] = 1
    compute: Amount
    memory: Amount
    kind: Annotated[str, Field(max_length=64)] | None = None
    start: AwareDatetime | None = None
    end: AwareDatetime
    request_id: Short | None = None


class ReservationShape(BaseModel):
    """Room kept for an account in a window of time."""

    reservation_id: str
    tenant: str
    project: str
    gpus: int
    compute_pct: int
    memory_mib: int
    kind: str | None
    start: datetime
    end: datetime
    by: str
    #: Devices on which room is kept and nobody uses it; and slices that came out of it.
    kept: int
    used: int
    #: Why it has not all its devices though its window has come.
    lacking: str


class DefragRequest(BaseModel):
    """Move idle slices together."""

    model_config = ConfigDict(extra="forbid")

    apply: bool = False
    at_most_pct: Annotated[int, Field(ge=1, le=MAX_MOVED_PCT)] = MAX_MOVED_PCT


class MoveShape(BaseModel):
    """One slice's way."""

    slice_id: str
    tenant: str
    compute_pct: int
    from_node: str
    from_device: str
    to_node: str
    to_device: str


class DefragShape(BaseModel):
    """What moving gains, or would gain."""

    is_applied: bool
    moves: list[MoveShape]
    #: Compute that requests like the last ones cannot use, in per cent of a device, and devices nobody holds anything of.
    stranded_before_pct: float
    stranded_after_pct: float
    empty_before: int
    empty_after: int


def waiting_shape(position: int, waiting: Waiting) -> WaitingShape:
    """Return a request in the queue as REST shows it."""
    request = waiting.event.request
    return WaitingShape(
        position=position,
        request_id=waiting.request_id,
        tenant=waiting.event.tenant,
        project=request.project,
        priority=request.priority,
        holder=waiting.event.holder,
        label=request.label,
        gpus=request.count,
        compute_pct=request.compute_pct,
        memory_mib=request.memory_mib,
        kind=request.kind,
        waits_since=moment(waiting.event.at_ms),
        reason=waiting.reason,
    )


def tenant_shape(pool: Pool, account: str) -> TenantShape:
    """Return a tenant or project as REST shows it."""
    held, quota = pool.quotas.holds(account), pool.quotas.of(account)
    return TenantShape(
        tenant=account,
        compute_pct=held.compute_pct,
        memory_mib=held.memory_mib,
        slices=held.slices,
        borrowed_pct=pool.quotas.borrowed_pct(account),
        elastic_pct=held.surplus_pct,
        standing=round(pool.standing(account)[-1], 4),
        quota=QuotaShape(
            compute_pct=quota.compute_pct,
            memory_mib=quota.memory_mib,
            slices=quota.slices,
            guaranteed_pct=quota.guaranteed_pct,
            guaranteed_mib=quota.guaranteed_mib,
            max_priority=quota.max_priority,
            revision=quota.revision,
        ),
        over=pool.quotas.over(account, quota),
    )


def reservation_shape(pool: Pool, reservation: Reservation) -> ReservationShape:
    """Return a reservation as REST shows it."""
    states = [pool.slices[i].state for i in pool.reserved.get(reservation.reservation_id, ())]
    kept = states.count(SliceState.RESERVED)
    return ReservationShape(
        reservation_id=reservation.reservation_id,
        tenant=reservation.tenant,
        project=reservation.project,
        gpus=reservation.count,
        compute_pct=reservation.compute_pct,
        memory_mib=reservation.memory_mib,
        kind=reservation.kind,
        start=moment(reservation.start_ms),
        end=moment(reservation.end_ms),
        by=reservation.by,
        kept=kept,
        used=len(states) - kept,
        lacking=pool.lacking.get(reservation.reservation_id, ""),
    )


def defrag_shape(plan: Defrag, *, is_applied: bool) -> DefragShape:
    """Return planned moves as REST shows them."""
    return DefragShape(
        is_applied=is_applied,
        moves=[
            MoveShape(
                slice_id=move.slice_id,
                tenant=move.tenant,
                compute_pct=move.compute_pct,
                from_node=move.from_node,
                from_device=move.from_device,
                to_node=move.plan.node,
                to_device=move.plan.device,
            )
            for move in plan.moves
        ],
        stranded_before_pct=round(plan.stranded_before_pct, 1),
        stranded_after_pct=round(plan.stranded_after_pct, 1),
        empty_before=plan.empty_before,
        empty_after=plan.empty_after,
    )
