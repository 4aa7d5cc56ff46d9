"""How fast a broker decides and grants: in the core alone, and over the wire with durable commits.

python -m bench.broker [--devices 10000] [--slices 100000] [--seconds 60] [--database URL] [--core-only]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.cluster import Cluster, free_port
from bench.programs.allocations import DEVICES_A_NODE
from gpupool.rest import RestClient
from gpupool_broker.core import events as e
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.wants import want_of
from gpupool_wire.messages import DeviceInfo, RequestSlice

A_NODE = 8
MEMORY_MIB = 81_920
#: Per cent of compute and MiB that requests ask for, drawn with equal weight: round numbers, as people ask.
ASKS = list(itertools.product((5, 5, 10, 10, 20, 25), (1_024, 2_048, 4_096, 8_192)))
TIMED = 2_000


def filled(nodes: int, rng: random.Random) -> tuple[Pool, Iterator[e.SliceRequested]]:
    """Return a pool of null devices, and requests without end."""
    ids = itertools.count()
    pool = Pool(lambda: str(next(ids)))
    for number in range(nodes):
        devices = tuple(DeviceInfo(device=f"null{i}", kind="null", model="null", memory_mib=MEMORY_MIB) for i in range(A_NODE))
        greeted = e.AgentGreeted(now_ms=0, at_ms=0, caller=number, node=f"node-{number}", door="d", devices=devices)
        for fact in pool.handle(greeted)[0]:
            pool.apply(fact)

    def requests() -> Iterator[e.SliceRequested]:
        for number in itertools.count():
            compute, memory = rng.choice(ASKS)
            request = RequestSlice(call_id=number, request_id=f"r{number}", compute_pct=compute, memory_mib=memory, kind="null")
            yield e.SliceRequested(now_ms=0, at_ms=0, caller=0, tenant=f"t{number % 50}", holder="", request=request)

    return pool, requests()


def decide(pool: Pool, requests: Iterator[e.SliceRequested], count: int) -> list[float]:
    """Handle and apply so many requests; return the seconds each decision took."""
    took = []
    for event in itertools.islice(requests, count):
        start = time.perf_counter()
        facts, _ = pool.handle(event)
        took.append(time.perf_counter() - start)
        for fact in facts:
            pool.apply(fact)
    return took


def place(pool: Pool, requests: Iterator[e.SliceRequested], count: int) -> list[float]:
    """Look for places for so many requests, and grant none; return the seconds each took."""
    took = []
    for event in itertools.islice(requests, count):
        ask = want_of(event.request, event.tenant).ask
        start = time.perf_counter()
        pool.placer.find(ask)
        took.append(time.perf_counter() - start)
    return took


def show(what: str, took: list[float]) -> None:
    """Print the middle and the tail of times."""
    row = sorted(took)
    p50, p99 = row[len(row) // 2] * 1e6, row[int(len(row) * 0.99)] * 1e6
    print(f"  {what}: p50 {p50:.1f} us, p99 {p99:.1f} us", flush=True)


def measure_core(devices: int, slices: int) -> None:
    """Print how long a decision takes by fill and by nodes, and what a pool weighs."""
    rng, process = random.Random(42), psutil.Process()
    nodes = devices // A_NODE
    before = process.memory_info().rss
    pool, requests = filled(nodes, rng)
    print(f"decisions of the core, {devices} null devices (handle alone; apply not timed)")
    for percent in (10, 25, 50, 75, 90, 98):
        while 100 * devices * percent / 100 > sum(held.compute_pct for held in pool.quotas.held.values()):
            decide(pool, requests, 500)
        show(f"{percent:3d} % full, {len(pool.slices)} slices", decide(pool, requests, TIMED))
    show("     placement alone", place(pool, requests, TIMED))
    print(f"  {(process.memory_info().rss - before) / 2**20:.0f} MiB for {len(pool.slices)} slices")
    pool, requests = filled(nodes, rng)
    one = (e.SliceRequested(now_ms=0, at_ms=0, caller=0, tenant="t", holder="", request=r) for r in small_requests())
    decide(pool, one, slices)
    show(f"{len(pool.slices)} slices", decide(pool, one, TIMED))
    for count in (100, 1_000, 10_000):
        pool, requests = filled(count, rng)
        decide(pool, requests, 1_000)
        show(f"{count} nodes", decide(pool, requests, TIMED))


def small_requests() -> Iterator[RequestSlice]:
    """Yield requests that let a device hold many slices."""
    for number in itertools.count():
        yield RequestSlice(call_id=0, request_id=f"q{number}", compute_pct=1 + number % 10, memory_mib=512, kind="null")


def measure_wire(devices: int, seconds: float, database: str | None) -> None:
    """Print grants per second, and latency at 1,000 a second, through a broker process."""
    for what, rate, span in (("as fast as it goes", None, seconds), ("at 1,000/s", 1_000.0, min(seconds, 20.0))):
        with tempfile.TemporaryDirectory(prefix="gpupool-broker-") as folder:
            cluster = Cluster(Path(folder), agents=())
            bind, http, file = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", Path(folder) / "admin.token"
            options = ["--bind", bind, "--http", http, "--admin-token-file", str(file)]
            try:
                cluster.launch("broker", [*options, *(["--database", database] if database else [])])
                rest = RestClient(f"http://{http}", file.read_text().strip())
                told = drive(rest, f"tcp://{bind}", -(-devices // DEVICES_A_NODE), span, rate)
                broker = psutil.Process(cluster.processes["broker"].pid)
                weight = broker.memory_info().rss / 2**20
            finally:
                cluster.stop()
        print(
            f"  {what}: {told['granted'] / told['seconds']:.0f} allocations/s for {told['seconds']:.0f} s, "
            f"p50 {told['p50_ms']:.2f} ms, p99 {told['p99_ms']:.2f} ms; the broker weighs {weight:.0f} MiB"
            + (f"; refused: {told['refused'][0]}" if told["refused"] else ""),
            flush=True,
        )


def drive(rest: RestClient, url: str, nodes: int, seconds: float, rate: float | None) -> dict[str, float]:
    """Have another process play nodes and callers; return what it measured."""
    token = rest.post("/tokens", {"role": "tenant", "tenant": "bench"})["token"]
    joins = "\n".join(rest.post("/tokens", {"role": "join"})["token"] for _ in range(nodes))
    command = [sys.executable, "-m", "bench.programs.allocations", url, token, str(nodes), str(seconds)]
    command += [str(rate)] if rate else []
    done = subprocess.run(command, input=joins, capture_output=True, text=True, timeout=seconds + 120, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--slices", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--database", help="SQLAlchemy URL; an SQLite file where it is not given.")
    parser.add_argument("--core-only", action="store_true")
    arguments = parser.parse_args()
    measure_core(arguments.devices, arguments.slices)
    if not arguments.core_only:
        print(f"over the wire, {arguments.devices} null devices, {arguments.database or 'SQLite'}, each commit durable")
        measure_wire(arguments.devices, arguments.seconds, arguments.database)


if __name__ == "__main__":
    main()
