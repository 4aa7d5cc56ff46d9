"""Pools of devices reached over the network: what a policy makes of compute and memory together, and how long it takes to decide.

The public trace has no GPU memory, so this workload is made up, from a seed. Devices: 24, 48 and 80 GiB in the shares 2:2:1, with
300 MiB beside every slice for its worker. Requests: a catalogue of twelve shapes, from a little compute with much memory
(embedding tables, idle language models) to much compute with little memory (vision), drawn with weights that differ by seed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gpupool_broker.core.placement import Ask, Placer, Plan
from gpupool_broker.core.placement.refusals import free_mib
from gpupool_broker.core.state import Device, Node
from gpupool_wire.messages import DeviceInfo

GIB = 1024
SIZES_GIB = (24, 24, 48, 48, 80)
OVERHEAD_MIB = 300
#: (compute per cent, memory GiB).
SHAPES = ((5, 8), (5, 2), (10, 2), (10, 10), (20, 4), (25, 16), (30, 3), (50, 8), (50, 36), (75, 20), (100, 20), (100, 70))
#: Compute demand that arrives, over capacity.
ARRIVED = 1.3
#: Requests of a tenth of a device on average, for the latency of a decision: (compute per cent, memory MiB) from a generator.
SMALL: dict[str, Callable[[random.Random], tuple[int, int]]] = {
    "round": lambda rng: rng.choice([(5, 1024), (5, 3072), (10, 2048), (10, 4096), (15, 2048), (15, 6144)]),
    # No two alike: every per cent is a level of the index, every request a step of the table.
    "any": lambda rng: (rng.randint(2, 18), rng.randint(256, 6144)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fill:
    """One pool filled until 130 % of its compute has been asked for."""

    policy: str
    seed: int
    devices: int = 400
    #: Score every place that fits, not one a level: what the index gives up.
    looks_everywhere: bool = False


def nodes(count: int) -> Iterator[Node]:
    """Yield nodes of eight devices of one size each."""
    for start in range(0, count, 8):
        size = SIZES_GIB[start // 8 % len(SIZES_GIB)]
        name = f"node-{start // 8:05d}"
        infos = [
            DeviceInfo(
                device=f"gpu{i}", kind="cuda", model=f"gpu-{size}", memory_mib=size * GIB, worker_overhead_mib=OVERHEAD_MIB
            )
            for i in range(min(8, count - start))
        ]
        devices = {info.device: Device.empty(name, info) for info in infos}
        yield Node(node=name, door="", labels={}, joined_ms=0, devices=devices)


class Pool:
    """A placer and the devices it places on; a slice is a device and what it holds of it."""

    def __init__(self, policy: str, devices: int, seed: int) -> None:
        self.placer = Placer(policy, rng=random.Random(seed))
        self.devices: dict[tuple[str, str], Device] = {}
        for node in nodes(devices):
            self.placer.add(node)
            self.devices |= {(node.node, name): device for name, device in node.devices.items()}

    def take(self, ask: Ask, plan: Plan) -> Device:
        device = self.devices[plan.node, plan.device]
        self.book(device, ask, -1)
        return device

    def book(self, device: Device, ask: Ask, sign: int) -> None:
        device.compute_free_pct += sign * ask.compute_pct
        device.memory_free_mib += sign * device.booked_mib(ask.memory_mib)
        self.placer.changed(device)

    def place_anywhere(self, ask: Ask) -> Plan | None:
        """Return the best of all places by the policy's score, from a look at every device."""
        score, workload = self.placer.policy.score, self.placer.workload
        best = None
        for device in self.devices.values():
            compute, memory = device.compute_free_pct, free_mib(device)
            if compute >= ask.compute_pct and memory >= ask.memory_mib:
                left = compute - ask.compute_pct, memory - device.booked_mib(ask.memory_mib)
                key = score(workload, compute, memory, *left), compute, memory, device.node, device.info.device
                best = key if best is None or key < best else best
        return Plan(node=best[3], device=best[4]) if best else None


def fill(run: Fill) -> tuple[float, float]:
    """Return the compute and the memory promised to slices, in per cent of the pool's."""
    rng = random.Random(run.seed)
    pool = Pool(run.policy, run.devices, run.seed)
    weights = [rng.expovariate(1.0) for _ in SHAPES]
    capacity_mib = sum(device.info.memory_mib for device in pool.devices.values())
    arrived = compute = memory = 0
    while arrived < ARRIVED * 100 * run.devices:
        share, gib = rng.choices(SHAPES, weights)[0]
        ask = Ask(compute_pct=share, memory_mib=gib * GIB)
        arrived += share
        pool.placer.seen(ask)
        plan = pool.place_anywhere(ask) if run.looks_everywhere else pool.placer.place(ask)
        if isinstance(plan, Plan):
            pool.take(ask, plan)
            compute, memory = compute + share, memory + gib * GIB
    return compute / run.devices, 100 * memory / capacity_mib


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """What decisions took, in microseconds: the plan alone, and with learning and the index kept up to date."""

    policy: str
    slices: int
    full_pct: float
    plan_us: list[float]
    all_us: list[float]


def time_decisions(policy: str, devices: int, slices: int, rounds: int, shares: str) -> Latency:
    """Fill a pool with that many slices, then let one leave and one come, and time the coming."""
    rng = random.Random(0)
    pool, held = Pool(policy, devices, 0), []
    while len(held) < slices:
        ask = small(rng, shares)
        pool.placer.seen(ask)
        plan = pool.placer.place(ask)
        if not isinstance(plan, Plan):
            break
        held.append((pool.take(ask, plan), ask))
    full_pct = sum(ask.compute_pct for _, ask in held) / devices
    plan_us, all_us = [], []
    for _ in range(rounds):
        index = rng.randrange(len(held))
        held[index], held[-1] = held[-1], held[index]
        pool.book(*held.pop(), 1)
        ask = small(rng, shares)
        start = time.perf_counter_ns()
        pool.placer.seen(ask)
        learned = time.perf_counter_ns()
        plan = pool.placer.place(ask)
        planned = time.perf_counter_ns()
        if isinstance(plan, Plan):
            held.append((pool.take(ask, plan), ask))
        plan_us.append((planned - learned) / 1000)
        all_us.append((time.perf_counter_ns() - start) / 1000)
    return Latency(policy=policy, slices=len(held), full_pct=full_pct, plan_us=sorted(plan_us), all_us=sorted(all_us))


def small(rng: random.Random, shares: str) -> Ask:
    """Return a request of a tenth of a device on average."""
    compute, memory = SMALL[shares](rng)
    return Ask(compute_pct=compute, memory_mib=memory)


def fixed_work_us(rounds: int) -> list[float]:
    """Return what the same few hundred additions took, again and again, sorted."""
    took = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        sum(range(1_000))
        took.append((time.perf_counter_ns() - start) / 1000)
    return sorted(took)


def quantile(sorted_us: list[float], q: float) -> float:
    """Return the q-quantile of sorted measurements."""
    return sorted_us[min(len(sorted_us) - 1, int(q * len(sorted_us)))]
