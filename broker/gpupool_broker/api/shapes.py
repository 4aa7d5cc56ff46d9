"""What REST takes and gives, as pydantic models: the OpenAPI document is made of these."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gpupool_broker.core.overview import is_starving
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Device, Lately, Node, Slice, SliceState
from gpupool_wire.errors import NotFound
from gpupool_wire.limits import LEASE_S
from gpupool_wire.messages import BoardHealth

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
    #: Its slices, where they were asked for (`with_slices`); what others hold is one entry without a name for a tenant.
    held: list[HeldShape] | None = None
    labels: dict[str, str] = {}
    #: Booked beside every slice for its worker.
    worker_overhead_mib: int = 0
    #: What its board says of itself; null where it does not say. Clocks of its multiprocessors and of its memory; memory errors
    #: that could not be corrected; the last fault its driver reported (NVIDIA's Xid).
    temperature_c: int | None = None
    power_w: float | None = None
    clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    ecc_errors: int | None = None
    xid: int | None = None


class HeldShape(BaseModel):
    """A slice as a part of its device."""

    slice_id: str
    tenant: str
    label: str
    compute_pct: int
    memory_mib: int
    #: Share of the device it had in the last ten seconds.
    achieved_10s_pct: float
    #: "live", "paused" or "reserved".
    state: str


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


class NodeDetail(NodeShape):
    """A node with its devices and their slices."""

    device_list: list[DeviceShape]


class StoryLine(BaseModel):
    """One thing that happened to a slice."""

    at: datetime
    fact: str
    text: str


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


def node_detail(pool: Pool, name: str, tenant: str | None) -> NodeDetail:
    """Return a node with its devices as REST shows it. Raises NotFound."""
    node = pool.nodes.get(name)
    if node is None:
        raise NotFound(f"there is no node {name[:64]}", node=name[:64])
    devices = [device_shape(pool, node, device, held_shapes(pool, device, tenant)) for device in node.devices.values()]
    return NodeDetail(**node_shape(pool, node).model_dump(), device_list=devices)


def held_shapes(pool: Pool, device: Device, tenant: str | None) -> list[HeldShape]:
    """Return a device's slices, the largest first; for a tenant its own, and what others hold as one without a name."""
    rows = [pool.slices[slice_id] for slice_id in device.slices]
    rows.sort(key=lambda slice_: (-slice_.compute_pct, slice_.slice_id))
    shapes = [_held_shape(pool, slice_) for slice_ in rows if tenant in (None, slice_.tenant)]
    if others := [_held_shape(pool, slice_) for slice_ in rows if tenant not in (None, slice_.tenant)]:
        shapes.append(
            HeldShape(
                slice_id="",
                tenant="",
                label="",
                compute_pct=sum(one.compute_pct for one in others),
                memory_mib=sum(one.memory_mib for one in others),
                achieved_10s_pct=round(sum(one.achieved_10s_pct for one in others), 3),
                state="live",
            )
        )
    return shapes


def _held_shape(pool: Pool, slice_: Slice) -> HeldShape:
    return HeldShape(
        slice_id=slice_.slice_id,
        tenant=slice_.tenant,
        label=slice_.label,
        compute_pct=slice_.taken_pct,
        memory_mib=slice_.memory_mib,
        achieved_10s_pct=pool.lately.get(slice_.slice_id, Lately()).achieved_millipct / 1000,
        state="paused" if slice_.paused_by else slice_.state.value,
    )


def device_shape(pool: Pool, node: Node, device: Device, held: list[HeldShape] | None = None) -> DeviceShape:
    """Return a device as REST shows it."""
    name = device.info.device
    # What a lost node's boards said last is not what they are now.
    board = pool.boards.get((node.node, name)) if node.is_up else None
    board = board or BoardHealth(device=name)
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
        held=held,
        labels=device.info.labels,
        worker_overhead_mib=device.info.worker_overhead_mib,
        temperature_c=board.temperature_c,
        power_w=None if board.power_mw is None else round(board.power_mw / 1000, 1),
        clock_mhz=board.clock_mhz,
        memory_clock_mhz=board.memory_clock_mhz,
        ecc_errors=board.ecc_errors,
        xid=board.xid,
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
        state="paused" if slice_.paused_by and slice_.state is SliceState.LIVE else slice_.state.value,
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
    )


def _lease_until(pool: Pool, node: str) -> datetime | None:
    heard_ms = pool.heard_at_ms(node)
    return None if heard_ms is None else moment(heard_ms + int(LEASE_S * 1000))
