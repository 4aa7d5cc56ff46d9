"""What REST takes and gives, as pydantic models: the OpenAPI document is made of these."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gpupool_broker.core.overview import is_starving
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Lately, Slice, SliceState
from gpupool_wire.limits import LEASE_S

Detail = str | int | float | bool | None


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    details: dict[str, Detail] = {}


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorBody


class OpenedModelShape(BaseModel):
    """A model that a slice has open."""

    #: The name its graph has, cut; of one without, the beginning of its hash.
    name: str
    weight_bytes: int
    sessions: int
    #: Its weights are in the slice's memory; else its next call loads them again.
    is_loaded: bool


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
    project: str
    priority: int
    #: The range of an elastic slice; 0 and 0 for one that keeps its size.
    compute_min_pct: int
    compute_max_pct: int
    gang: str
    reservation: str
    #: Who paused it; empty while it runs.
    paused_by: str
    #: Why it will be evicted soon; empty where it will not.
    notice: str
    #: Until when its node may serve it without hearing from the broker; None where this broker has not heard the node yet.
    lease_until: datetime | None = None
    #: Whether it has work, waits for its turn, and gets less than it was promised.
    is_starving: bool = False
    #: How many models it has open, and the largest of them.
    model_count: int = 0
    models: list[OpenedModelShape] = []


class StoryLine(BaseModel):
    """One thing that happened to a slice."""

    at: datetime
    fact: str
    text: str
    #: What the text is made of, by name, to say it in another language.
    figures: dict[str, str | int | None] = {}


class SliceStory(SliceShape):
    """A slice and what happened to it."""

    story: list[StoryLine]


class GangShape(BaseModel):
    """The slices of one request for several devices."""

    gang: str
    slices: list[SliceShape]


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


def moment(ms: int) -> datetime:
    """Return a time as REST shows it: UTC, to the millisecond."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def moment_or_none(ms: int | None) -> datetime | None:
    """Return a time as REST shows it, None where there is none."""
    return None if ms is None else moment(ms)


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
        state="paused" if slice_.paused_by and slice_.state is SliceState.LIVE else slice_.state.value,
        epoch=slice_.epoch,
        label=slice_.label,
        holder=slice_.holder,
        created_at=moment(slice_.created_ms),
        ended_at=moment_or_none(slice_.ended_ms),
        reason=slice_.reason,
        device_ms=device_ns / 1e6,
        throttled_ms=throttled_ns / 1e6,
        calls=calls,
        achieved_10s_pct=lately.achieved_millipct / 1000,
        achieved_pct=round(device_ns / 1e4 / age_ms, 3) if age_ms > 0 else 0.0,
        throttled_10s_ms=lately.throttled_ms,
        memory_used_bytes=lately.memory_bytes,
        project=slice_.project,
        priority=slice_.priority,
        compute_min_pct=slice_.compute_min_pct,
        compute_max_pct=slice_.compute_max_pct,
        gang=slice_.gang,
        reservation=slice_.reservation,
        paused_by=slice_.paused_by,
        notice=slice_.notice,
        lease_until=None if slice_.state.is_over else _lease_until(pool, slice_.node),
        is_starving=slice_.state is SliceState.LIVE and is_starving(slice_, lately),
        model_count=lately.model_count,
        models=[OpenedModelShape.model_validate(model, from_attributes=True) for model in lately.models],
    )


def _lease_until(pool: Pool, node: str) -> datetime | None:
    heard_ms = pool.heard_at_ms(node)
    return None if heard_ms is None else moment(heard_ms + int(LEASE_S * 1000))
