"""Pages read while agents, workers and the broker are killed at random: how many are lost, doubled, or read differently.

    python -m bench.faults [--pages 40] [--clients 4] [--kills 8] [--seed 1]

One broker, two agents (each offers this host's CPU), several clients that each read their share of the sample pages over and over
through a slice of their own. The undisturbed run comes first; its texts are the truth for the disturbed one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.cluster import Cluster
from gpupool_ocr import samples

READER = Path(__file__).parent / "programs" / "ocr_pages.py"


def read_all(cluster: Cluster, pages: int, clients: int) -> list[dict[str, object]]:
    """Have the clients read `pages` pages between them; return what they read. Raises SystemExit where one fails."""
    known = [str(path) for path in samples.paths()]
    environ = {
        **os.environ,
        "GPUPOOL_URL": cluster.url,
        "GPUPOOL_TOKEN": cluster.token,
        "GPUPOOL_BENCH_COMPUTE": str(100 // clients),
    }
    readers = []
    for number in range(clients):
        own = [known[index % len(known)] for index in range(number, pages, clients)]
        readers.append(subprocess.Popen([sys.executable, str(READER), *own], env=environ, stdout=subprocess.PIPE, text=True))
    outputs = [reader.communicate()[0] for reader in readers]
    if any(reader.returncode for reader in readers):
        raise SystemExit(f"clients ended with {[reader.returncode for reader in readers]}")
    return [json.loads(line) for output in outputs for line in output.splitlines()]


@dataclass
class Toll:
    """What was killed, and how long it took (seconds) until that was noticed and until it was made good.

    Made good is a worker when another process stands in its place, an agent when its slices are placed on the other one, the
    broker when it serves again.
    """

    noticed: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    recovered: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def lines(self) -> list[str]:
        """Return a line for each kind of part."""
        rows = []
        for kind, recovered in sorted(self.recovered.items()):
            noticed = self.noticed[kind]
            row = f"{kind:7} killed {len(recovered):2} times; made good after {_range(recovered)}"
            rows.append(row + (f"; noticed by the broker after {_range(noticed)}" if noticed else ""))
        return rows


def _range(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def disturb(cluster: Cluster, kills: int, seed: int, over: threading.Event) -> Toll:
    """Kill parts at random, a few seconds apart, until it was done often enough or the reading is over."""
    chance, toll = random.Random(seed), Toll()
    while sum(map(len, toll.recovered.values())) < kills and not over.wait(chance.uniform(2.0, 5.0)):
        victim = chance.choice(["worker", "worker", "agent-1", "agent-2", "broker"])
        start = time.monotonic()
        if victim == "worker":
            if not (workers := cluster.workers()):
                continue
            chance.choice(workers).kill()
            _until(partial(_has_workers, cluster, len(workers)), 20)
        else:
            cluster.processes[victim].kill()
            cluster.processes[victim].wait()
            if victim != "broker":
                # Down until the broker has seen it, so that its slices go to the other agent.
                _until(partial(_is_lost, cluster, victim), 10)
                toll.noticed["agent"].append(time.monotonic() - start)
                _until(lambda: all(row["state"] == "live" for row in cluster.slices()), 20)
            else:
                cluster.launch(victim)
        toll.recovered[victim.split("-")[0]].append(time.monotonic() - start)
        if victim.startswith("agent"):
            cluster.launch(victim)
    return toll


def _until(holds: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)


def _has_workers(cluster: Cluster, count: int) -> bool:
    return len(cluster.workers()) >= count


def _is_lost(cluster: Cluster, node: str) -> bool:
    return any(row["node"] == node and row["state"] == "lost" for row in cluster.nodes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpupool-faults-") as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start()
            truth = {str(row["page"]): row["texts"] for row in read_all(cluster, len(samples.paths()), 1)}
            over, tolls = threading.Event(), list[Toll]()
            killer = threading.Thread(target=lambda: tolls.append(disturb(cluster, arguments.kills, arguments.seed, over)))
            killer.start()
            start = time.monotonic()
            rows = read_all(cluster, arguments.pages, arguments.clients)
            spent = time.monotonic() - start
            over.set()
            killer.join()
        finally:
            cluster.stop()
    different = sum(row["texts"] != truth[str(row["page"])] for row in rows)
    slowest = sorted((float(str(row["seconds"])) for row in rows), reverse=True)[:5]
    print(f"{len(rows)} of {arguments.pages} pages read by {arguments.clients} clients in {spent:.0f} s")
    for toll in tolls:
        print("\n".join(toll.lines()))
    print(f"lost {arguments.pages - len(rows)}, read differently {different}; slowest pages {[round(s, 1) for s in slowest]} s")


if __name__ == "__main__":
    main()
