"""Placement as one pure function over a snapshot: what the index must answer, and what small callers use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from random import Random

from gpupool_broker.core.placement.asks import WHOLE_PCT, Ask, NoRoom, Plan, meets, rating_of
from gpupool_broker.core.placement.policies import POLICIES, Order, picks
from gpupool_broker.core.placement.refusals import explain, free_mib, room_key, size_key
from gpupool_broker.core.placement.workload import Workload
from gpupool_broker.core.state import Device

#: The share (per cent) a request takes of a device, the device's TFLOPS where the request asks for such, the device.
Spot = tuple[int, int, Device]
NodeLabels = Mapping[str, Mapping[str, str]]


def place(
    ask: Ask,
    devices: Iterable[Device],
    *,
    policy: str = "best-fit",
    workload: Workload | None = None,
    node_labels: NodeLabels | None = None,
    rng: Random | None = None,
) -> Plan | NoRoom:
    """Return where `ask` goes among the devices of nodes that are up, or why nowhere.

    Raises KeyError where there is no such policy.
    """
    of_node = node_labels or {}
    snapshot = list(devices)
    fitting = [spot for spot in _hosting(ask, snapshot, of_node) if _has_room(ask, spot)]
    if not fitting:
        return refuse(ask, snapshot, of_node)
    share, _, best = _choose(ask, fitting, policy, workload or Workload(), rng or Random(0))  # noqa: S311 (nothing secret)
    return Plan(node=best.node, device=best.info.device, compute_pct=share)


def refuse(ask: Ask, devices: Iterable[Device], node_labels: NodeLabels) -> NoRoom:
    """Return why `ask` has no room, from a look at every device."""
    suitable = [device for device in devices if _is_suitable(ask, device, node_labels)]
    hosting = [(share, device) for share, _, device in _hosting(ask, suitable, node_labels)]
    largest = max((device for _, device in hosting), key=size_key, default=None)
    return explain(ask, largest, max(hosting, key=room_key, default=None), is_too_fast=bool(suitable) and not hosting)


def _hosting(ask: Ask, devices: Iterable[Device], node_labels: NodeLabels) -> list[Spot]:
    """Return the devices that could host the request when empty, whatever its memory."""
    suitable = ((device, _rating(device, node_labels)) for device in devices if _is_suitable(ask, device, node_labels))
    spots = ((ask.share_pct(rating), rating if ask.tflops else 0, device) for device, rating in suitable)
    return [spot for spot in spots if spot[0] <= WHOLE_PCT]


def _is_suitable(ask: Ask, device: Device, node_labels: NodeLabels) -> bool:
    return not ask.avoids(device.node, device.info.device) and meets(ask.needs(), device, node_labels.get(device.node, {}))


def _rating(device: Device, node_labels: NodeLabels) -> int:
    return rating_of({**node_labels.get(device.node, {}), **device.info.labels})


def _has_room(ask: Ask, spot: Spot) -> bool:
    share, _, device = spot
    return share <= device.open_pct and ask.memory_mib <= free_mib(device)


def _choose(ask: Ask, fitting: list[Spot], policy_name: str, workload: Workload, rng: Random) -> Spot:
    policy = POLICIES[policy_name]
    in_order = sorted(fitting, key=lambda spot: (*spot[:2], spot[2].open_pct, *_rest(spot[2])))
    if policy.order is Order.RANDOM:
        return in_order[rng.randrange(len(in_order))]
    # Of the devices of one speed with the same compute free, few are looked at: see `picks`.
    levels = [list(level) for _, level in groupby(in_order, key=lambda spot: (spot[1], spot[2].open_pct))]

    def key(spot: Spot) -> tuple[int, int, int, str, str]:
        share, _, device = spot
        compute, memory = device.open_pct, free_mib(device)
        left = memory - device.booked_mib(ask.memory_mib)
        return policy.score(workload, compute, memory, compute - share, left), compute, *_rest(device)

    return min((level[index] for level in levels for index in picks(0, len(level))), key=key)


def _rest(device: Device) -> tuple[int, str, str]:
    return free_mib(device), device.node, device.info.device
