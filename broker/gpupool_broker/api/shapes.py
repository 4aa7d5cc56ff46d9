"""What REST takes and gives, as pydantic models: the OpenAPI document is made of these."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gpupool_broker.core.pool import Pool
from gpupool_broker.core.queue import Waiting
from gpupool_broker.core.quotas import Held, Quota
from gpupool_broker.core.state import Device, Lately, Node, Slice
from gpupool_broker.store.sql import Token
from gpupool_wire.units import Hold, Policy

Detail = str | int | float | bool | None


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    details: dict[str, Detail] = {}


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorBody


class NodeShape(BaseModel):
    """A machine with an agent."""

    node: str
    #: "up", "lost", "cordoned" (nothing new is placed there) or "draining" (what is there moves or ends).
    state: str
    door: str
    labels: dict[str, str]
    joined_at: datetime
    #: Of the last beat this broker heard; None where it has heard none since it started.
    last_seen_at: datetime | None
    devices: int
    slices: int


class DeviceShape(BaseModel):
    """A device and how much of it is given out."""

    node: str
    device: str
    kind: str
    model: str
    state: str
    memory_mib: int
    compute_allocated_pct: int
    memory_allocated_mib: int
    #: Share of the last ten seconds in which the device executed, all slices together.
    busy_pct: float
    slices: int


class SliceShape(BaseModel):
    """A slice."""

    slice_id: str
    tenant: str
    node: str
    device: str
    kind: str
    model: str
    compute_pct: int
    memory_mib: int
    policy: str
    hold: str
    state: str
    epoch: int
    label: str
    holder: str
    created_at: datetime
    ended_at: datetime | None
    reason: str
    device_ms: float
    throttled_ms: float
    calls: int
    #: Share of the device's time in the last ten seconds, and since the slice was granted.
    achieved_10s_pct: float
    achieved_pct: float
    #: Time it had work and no turn in the last ten seconds.
    throttled_10s_ms: int
    memory_used_bytes: int


class StoryLine(BaseModel):
    """One thing that happened to a slice."""

    at: datetime
    fact: str
    text: str


class SliceStory(SliceShape):
    """A slice and what happened to it."""

    story: list[StoryLine]


class SliceRequest(BaseModel):
    """Ask for a slice: whole per cent, and whole MiB or a text such as "2GiB"."""

    model_config = ConfigDict(extra="forbid")

    compute: int | Annotated[str, Field(max_length=64)]
    memory: int | Annotated[str, Field(max_length=64)]
    policy: Policy = Policy.FIXED
    hold: Hold = Hold.HELD
    kind: Annotated[str, Field(max_length=64)] | None = None
    label: Annotated[str, Field(max_length=512)] = ""
    wait_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    request_id: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class SliceChange(BaseModel):
    """Change a live slice; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    compute: int | Annotated[str, Field(max_length=64)] | None = None
    memory: int | Annotated[str, Field(max_length=64)] | None = None
    #: For less memory than the slice uses: how long idle models may be unloaded to make it fit. Without it that is refused.
    deadline_s: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    request_id: Annotated[str, Field(min_length=1, max_length=512)] | None = None


class Drain(BaseModel):
    """Empty a node: its slices move to other nodes, or end when the time is over."""

    model_config = ConfigDict(extra="forbid")

    deadline_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0


class QuotaShape(BaseModel):
    """What a tenant may hold at most; null limits nothing."""

    compute_pct: int | None
    memory_mib: int | None
    slices: int | None
    #: Rises with every change; send it back with a change to be told where somebody else was quicker.
    revision: int


class TenantShape(BaseModel):
    """What a tenant holds and may hold."""

    tenant: str
    compute_pct: int
    memory_mib: int
    slices: int
    quota: QuotaShape
    #: Where it holds more than it may, since the quota was lowered: nothing is taken away, nothing more is given.
    over: list[str]


class QuotaRequest(BaseModel):
    """Set what a tenant may hold: per cent of devices (200 are two whole ones), memory, slices. Left out is not limited."""

    model_config = ConfigDict(extra="forbid")

    compute: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    memory: int | Annotated[str, Field(max_length=64)] | None = None
    slices: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    revision: Annotated[int, Field(ge=0)] | None = None


class ExplainRequest(BaseModel):
    """A request that is not made yet."""

    model_config = ConfigDict(extra="forbid")

    compute: int | Annotated[str, Field(max_length=64)]
    memory: int | Annotated[str, Field(max_length=64)]
    kind: Annotated[str, Field(max_length=64)] | None = None
    #: Whose request; only admins may name another tenant.
    tenant: Annotated[str, Field(max_length=512)] | None = None


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
    #: What would admit it.
    changes: list[str]
    devices: list[VerdictShape]


class WaitingShape(BaseModel):
    """A request in the queue."""

    position: int
    tenant: str
    holder: str
    label: str
    compute_pct: int
    memory_mib: int
    kind: str | None
    waits_since: datetime
    reason: str


class TokenRequest(BaseModel):
    """Make a token."""

    model_config = ConfigDict(extra="forbid")

    role: Annotated[str, Field(pattern="^(admin|finance|tenant|join)$")]
    tenant: Annotated[str, Field(max_length=512)] = ""
    name: Annotated[str, Field(max_length=512)] = ""
    expires_s: Annotated[int, Field(ge=1, le=10 * 365 * 86_400)] | None = None


class TokenShape(BaseModel):
    """A token, without the token."""

    id: str
    role: str
    tenant: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None


class NewToken(TokenShape):
    """A token as it is shown once."""

    token: str


class WhoAmI(BaseModel):
    """Whose token this is."""

    role: str
    tenant: str
    name: str


def moment(ms: int) -> datetime:
    """Return a time as REST shows it: UTC, to the millisecond."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms)


def node_shape(pool: Pool, node: Node) -> NodeShape:
    """Return a node as REST shows it."""
    return NodeShape(
        node=node.node,
        state=_state_of(node),
        door=node.door,
        labels=node.labels,
        joined_at=moment(node.joined_ms),
        last_seen_at=_moment(pool.heard_at_ms(node.node)),
        devices=len(node.devices),
        slices=sum(len(device.slices) for device in node.devices.values()),
    )


def _state_of(node: Node) -> str:
    if not node.is_up:
        return "lost"
    return "up" if not node.is_cordoned else "cordoned" if node.drain_ms is None else "draining"


def device_shape(pool: Pool, node: Node, device: Device) -> DeviceShape:
    """Return a device as REST shows it."""
    return DeviceShape(
        node=node.node,
        device=device.info.device,
        kind=device.info.kind,
        model=device.info.model,
        state=_state_of(node),
        memory_mib=device.info.memory_mib,
        compute_allocated_pct=100 - device.compute_free_pct,
        memory_allocated_mib=device.info.memory_mib - device.memory_free_mib,
        busy_pct=pool.busy_millipct(device) / 1000,
        slices=len(device.slices),
    )


def slice_shape(pool: Pool, slice_: Slice, at_ms: int) -> SliceShape:
    """Return a slice as REST shows it at a wall time."""
    node = pool.nodes.get(slice_.node)
    device = node.devices.get(slice_.device) if node else None
    device_ns, throttled_ns, calls = pool.used(slice_)
    lately = pool.lately.get(slice_.slice_id, Lately())
    age_ms = (slice_.ended_ms or at_ms) - slice_.created_ms
    return SliceShape(
        slice_id=slice_.slice_id,
        tenant=slice_.tenant,
        node=slice_.node,
        device=slice_.device,
        kind=device.info.kind if device else "",
        model=device.info.model if device else "",
        compute_pct=slice_.compute_pct,
        memory_mib=slice_.memory_mib,
        policy=slice_.policy.value,
        hold=slice_.hold.value,
        state=slice_.state.value,
        epoch=slice_.epoch,
        label=slice_.label,
        holder=slice_.holder,
        created_at=moment(slice_.created_ms),
        ended_at=_moment(slice_.ended_ms),
        reason=slice_.reason,
        device_ms=device_ns / 1e6,
        throttled_ms=throttled_ns / 1e6,
        calls=calls,
        achieved_10s_pct=lately.achieved_millipct / 1000,
        achieved_pct=round(device_ns / 1e4 / age_ms, 3) if age_ms > 0 else 0.0,
        throttled_10s_ms=lately.throttled_ms,
        memory_used_bytes=lately.memory_bytes,
    )


def waiting_shape(position: int, waiting: Waiting) -> WaitingShape:
    """Return a request in the queue as REST shows it."""
    request = waiting.event.request
    return WaitingShape(
        position=position,
        tenant=waiting.event.tenant,
        holder=waiting.event.holder,
        label=request.label,
        compute_pct=request.compute_pct,
        memory_mib=request.memory_mib,
        kind=request.kind,
        waits_since=moment(waiting.event.at_ms),
        reason=waiting.reason,
    )


def tenant_shape(pool: Pool, tenant: str) -> TenantShape:
    """Return a tenant as REST shows it."""
    held, quota = pool.quotas.held.get(tenant, Held()), pool.quotas.limits.get(tenant, Quota())
    return TenantShape(
        tenant=tenant,
        compute_pct=held.compute_pct,
        memory_mib=held.memory_mib,
        slices=held.slices,
        quota=QuotaShape(
            compute_pct=quota.compute_pct, memory_mib=quota.memory_mib, slices=quota.slices, revision=quota.revision
        ),
        over=pool.quotas.over(tenant, quota),
    )


def token_shape(token: Token) -> TokenShape:
    """Return a token as REST shows it."""
    return TokenShape(
        id=token.token_id,
        role=token.role,
        tenant=token.tenant,
        name=token.name,
        created_at=moment(token.created_ms),
        expires_at=_moment(token.expires_ms),
        used_at=_moment(token.used_ms),
        revoked_at=_moment(token.revoked_ms),
    )
