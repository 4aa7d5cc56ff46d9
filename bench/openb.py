"""The public GPU-sharing trace, replayed against the broker's own placement on hosts.

The protocol is in the data folder's README. The data are read where they lie and never copied. Without departures, a task that
fits nowhere fails for good. With departures (ours), tasks are drawn uniformly with replacement, arrive as a Poisson stream and
stay an exponential time, so that 1.05 of the GPUs are asked for at any moment; after two mean lifetimes of warming up, what is
allocated is averaged over two more.
"""

from __future__ import annotations

import csv
import heapq
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gpupool_broker.core.placement.host_placer import HostPlacer
from gpupool_broker.core.placement.hosts import Host, HostAsk

#: Units of a GPU in the trace.
WHOLE = 1000
#: GPU demand that arrives, over capacity.
ARRIVED = 1.3
#: Offered GPU demand over capacity with departures; lifetimes of warming up and of measuring.
LOAD, WARM_UP, MEASURED = 1.05, 2.0, 2.0
#: What the published table calls our policies.
PUBLISHED = {"random": "Random", "best-fit": "BestFit", "pack": "GpuPacking", "fgd": "FGD"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One replay."""

    folder: Path
    trace: str
    policy: str
    seed: int
    is_pooled: bool = False
    has_departures: bool = False


def traces(folder: Path) -> list[str]:
    """Return the names of the traces in the folder, the default one first."""
    names = sorted(path.stem.removeprefix("openb_pod_list_") for path in folder.glob("openb_pod_list_*.csv"))
    if "default" not in names:
        raise SystemExit(f"{folder} has no openb_pod_list_default.csv")
    return ["default", *(name for name in names if name != "default")]


def published(folder: Path) -> dict[str, dict[str, float]]:
    """Return {trace: {policy as published: mean allocated per cent at 130 % arrived}}."""
    table = json.loads((folder / "published_fgd_results.json").read_text())
    return {
        trace: {policy: metrics["alloc_pct"]["130"][0] for policy, metrics in policies.items()}
        for trace, policies in table.items()
    }


def hosts(folder: Path, *, is_pooled: bool) -> list[Host]:
    """Return the GPU nodes; pooled, nothing is bound but their GPUs."""
    with (folder / "openb_node_list_gpu_node.csv").open() as file:
        return [
            Host(
                name=row["sn"],
                model=row["model"],
                cpu_milli=0 if is_pooled else int(row["cpu_milli"]),
                memory_mib=0 if is_pooled else int(row["memory_mib"]),
                gpus=[WHOLE] * int(row["gpu"]),
            )
            for row in csv.DictReader(file)
        ]


def tasks(folder: Path, trace: str, *, is_pooled: bool) -> list[HostAsk]:
    """Return the tasks; pooled, they ask for GPUs alone."""
    with (folder / f"openb_pod_list_{trace}.csv").open() as file:
        asks = [_task(row) for row in csv.DictReader(file)]
    return [replace(ask, cpu_milli=0, memory_mib=0) for ask in asks] if is_pooled else asks


def _task(row: dict[str, str]) -> HostAsk:
    gpus = int(row["num_gpu"])
    return HostAsk(
        cpu_milli=int(row["cpu_milli"]),
        memory_mib=int(row["memory_mib"]),
        gpus=gpus,
        units=int(row["gpu_milli"]) if gpus == 1 else WHOLE * bool(gpus),
        models=frozenset(filter(None, row.get("gpu_spec", "").split("|"))),
    )


def replay(run: Run) -> float:
    """Return the allocated GPU units over capacity, in per cent."""
    nodes = hosts(run.folder, is_pooled=run.is_pooled)
    capacity = sum(sum(host.gpus) for host in nodes)
    placer = HostPlacer(nodes, whole=WHOLE, policy=run.policy, rng=random.Random(run.seed))
    asks = tasks(run.folder, run.trace, is_pooled=run.is_pooled)
    rng = random.Random(run.seed)
    allocated = _depart(placer, asks, capacity, rng) if run.has_departures else _fill(placer, asks, capacity, rng)
    return 100 * allocated / capacity


def _fill(placer: HostPlacer, asks: list[HostAsk], capacity: int, rng: random.Random) -> int:
    allocated = 0
    for ask in _arrivals(asks, ARRIVED * capacity, rng):
        if _placed(placer, ask):
            allocated += ask.gpus * ask.units
    return allocated


def _arrivals(asks: list[HostAsk], demand: float, rng: random.Random) -> Iterator[HostAsk]:
    """Yield the whole trace once in random order, then draws with replacement until the demand has arrived."""
    order, arrived = rng.sample(asks, len(asks)), 0
    for ask in order:
        arrived += ask.gpus * ask.units
        yield ask
    while arrived < demand:
        ask = rng.choice(asks)
        arrived += ask.gpus * ask.units
        yield ask


def _depart(placer: HostPlacer, asks: list[HostAsk], capacity: int, rng: random.Random) -> float:
    mean_units = sum(ask.gpus * ask.units for ask in asks) / len(asks)
    rate = LOAD * capacity / mean_units  # arrivals in a mean lifetime
    leaving: list[tuple[float, int, HostAsk, Host, tuple[int, ...]]] = []
    now = area = allocated = 0.0
    number = 0
    while now < WARM_UP + MEASURED:
        arrival = now + rng.expovariate(rate)
        while leaving and leaving[0][0] <= arrival:
            at, _, ask, host, gpus = heapq.heappop(leaving)
            area += allocated * max(0.0, min(at, WARM_UP + MEASURED) - max(now, WARM_UP))
            now = at
            host.give_back(ask, gpus)
            placer.changed(host)
            allocated -= ask.gpus * ask.units
        area += allocated * max(0.0, min(arrival, WARM_UP + MEASURED) - max(now, WARM_UP))
        now = arrival
        ask = rng.choice(asks)
        stay, number = rng.expovariate(1.0), number + 1
        if taken := _placed(placer, ask):
            allocated += ask.gpus * ask.units
            heapq.heappush(leaving, (now + stay, number, ask, *taken))
    return area / MEASURED


def _placed(placer: HostPlacer, ask: HostAsk) -> tuple[Host, tuple[int, ...]] | None:
    placer.seen(ask)
    plan = placer.place(ask)
    if plan is None:
        return None
    host = placer.hosts[plan.host]
    host.take(ask, plan.gpus)
    placer.changed(host)
    return host, plan.gpus
