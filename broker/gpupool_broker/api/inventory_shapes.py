"""What REST gives of nodes and their devices."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from gpupool_broker.api.shapes import moment, moment_or_none
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Device, Lately, Node, Slice
from gpupool_wire.errors import NotFound
from gpupool_wire.messages import BoardHealth


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


class NodeDetail(NodeShape):
    """A node with its devices and their slices."""

    device_list: list[DeviceShape]


def node_shape(pool: Pool, node: Node) -> NodeShape:
    """Return a node as REST shows it."""
    return NodeShape(
        node=node.node,
        state=_state_of(node),
        door=node.door,
        labels=node.labels,
        joined_at=moment(node.joined_ms),
        last_seen_at=moment_or_none(pool.heard_at_ms(node.node)),
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
