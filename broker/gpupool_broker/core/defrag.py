"""Moving idle slices together, so that what is free is of use: fewer rests that no request of late could take.

The measure is that of placement, the expected fragmentation F(M) (see `placement.workload`): a move is worth what it lowers F on
the device left and the device reached together. Slices are taken greedily on a scratch copy of the pool, the emptiest devices'
first; only those that executed nothing in the last ten seconds move, since a move costs a program the reopening of its models.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from gpupool_broker.core.lives import Lives, ask_again
from gpupool_broker.core.placement import Placer, Plan, Workload
from gpupool_broker.core.state import Device, Node, Slice, SliceState

#: Slices looked at as candidates: those on the least full devices in use.
MAX_CANDIDATES = 500
#: At most that share of the live slices moves at once (per cent).
MAX_MOVED_PCT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One slice's way."""

    slice_id: str
    tenant: str
    compute_pct: int
    from_node: str
    from_device: str
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Defrag:
    """What moving would gain."""

    moves: tuple[Move, ...]
    #: Compute that requests like the last ones cannot use, in per cent of a device, expected, before and after.
    stranded_before_pct: float
    stranded_after_pct: float
    #: Devices nobody holds anything of, before and after.
    empty_before: int
    empty_after: int


def plan_defrag(pool: Lives, at_most_pct: int = MAX_MOVED_PCT) -> Defrag:
    """Return the moves worth making, of at most so many per cent of the live slices."""
    live = [slice_ for slice_ in pool.slices.values() if slice_.state is SliceState.LIVE]
    scratch = _Scratch(pool)
    before = scratch.stranded_pct(), scratch.empty()
    moves: list[Move] = []
    budget = len(live) * min(at_most_pct, MAX_MOVED_PCT) // 100 or min(1, len(live))
    idle = [slice_ for slice_ in live if _is_idle(pool, slice_)]
    candidates = sorted(idle, key=lambda slice_: (-scratch.device(slice_).compute_free_pct, slice_.slice_id))
    for slice_ in candidates[:MAX_CANDIDATES]:
        if len(moves) == budget:
            break
        if (plan := scratch.better_place(slice_)) is not None:
            scratch.move(slice_, plan)
            moves.append(
                Move(
                    slice_id=slice_.slice_id,
                    tenant=slice_.tenant,
                    compute_pct=slice_.compute_pct,
                    from_node=slice_.node,
                    from_device=slice_.device,
                    plan=plan,
                )
            )
    return Defrag(
        moves=tuple(moves),
        stranded_before_pct=before[0],
        stranded_after_pct=scratch.stranded_pct(),
        empty_before=before[1],
        empty_after=scratch.empty(),
    )


def _is_idle(pool: Lives, slice_: Slice) -> bool:
    lately = pool.lately.get(slice_.slice_id)
    is_bound = slice_.paused_by or slice_.notice or slice_.gang or slice_.reservation or slice_.compute_min_pct
    is_plain = not is_bound and pool.nodes[slice_.node].takes_slices
    return is_plain and lately is not None and lately.achieved_millipct == 0


class _Scratch:
    """A copy of what is free, to try moves on."""

    def __init__(self, pool: Lives) -> None:
        self.workload: Workload = pool.placer.workload
        self._placer = Placer("fgd", workload=self.workload)
        self._nodes: dict[str, Node] = {}
        for node in pool.nodes.values():
            if node.takes_slices:
                devices = {name: dataclasses.replace(d, slices=set(d.slices)) for name, d in node.devices.items()}
                self._nodes[node.node] = dataclasses.replace(node, devices=devices)
                self._placer.add(self._nodes[node.node])

    def device(self, slice_: Slice) -> Device:
        """Return the device a slice is on."""
        return self._nodes[slice_.node].devices[slice_.device]

    def better_place(self, slice_: Slice) -> Plan | None:
        """Return where a slice would leave less stranded than where it is."""
        source = self.device(slice_)
        ask = dataclasses.replace(ask_again(slice_), avoid_devices=frozenset([(slice_.node, slice_.device)]))
        plan = self._placer.find(ask)
        if plan is None or not self._nodes[plan.node].devices[plan.device].slices:
            return None
        target = self._nodes[plan.node].devices[plan.device]
        before = self._wasted(source) + self._wasted(target)
        self._book(source, slice_, -1)
        self._book(target, slice_, 1)
        gain = before - self._wasted(source) - self._wasted(target)
        self._book(target, slice_, -1)
        self._book(source, slice_, 1)
        return plan if gain > 0 else None

    def move(self, slice_: Slice, plan: Plan) -> None:
        """Make a move on the copy."""
        source, target = self.device(slice_), self._nodes[plan.node].devices[plan.device]
        self._book(source, slice_, -1)
        self._book(target, slice_, 1)
        self._placer.changed(source)
        self._placer.changed(target)

    def stranded_pct(self) -> float:
        """Return the compute that requests like the last ones cannot use, expected, in per cent of a device."""
        requests = max(1, self.workload.size)
        return sum(self._wasted(d) for node in self._nodes.values() for d in node.devices.values()) / requests

    def empty(self) -> int:
        """Return how many devices nobody holds anything of."""
        return sum(not device.slices for node in self._nodes.values() for device in node.devices.values())

    def _wasted(self, device: Device) -> int:
        free = max(0, device.memory_free_mib - device.info.worker_overhead_mib)
        # A whole device is of use to whoever needs one, and the best there is to those that need less: none of it is stranded.
        return 0 if not device.slices else self.workload.lesson(to_come=False).potential(device.open_pct, free)

    @staticmethod
    def _book(device: Device, slice_: Slice, sign: int) -> None:
        device.compute_free_pct -= sign * slice_.compute_pct
        device.memory_free_mib -= sign * device.booked_mib(slice_.memory_mib)
        (device.slices.add if sign > 0 else device.slices.remove)(slice_.slice_id)
