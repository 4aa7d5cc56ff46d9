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
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
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


def disturb(cluster: Cluster, kills: int, seed: int, over: threading.Event) -> Counter[str]:
    """Kill parts at random, a few seconds apart, until it was done often enough or the reading is over."""
    chance, done = random.Random(seed), Counter[str]()
    while sum(done.values()) < kills and not over.wait(chance.uniform(2.0, 5.0)):
        victim = chance.choice(["worker", "worker", "agent-1", "agent-2", "broker"])
        if victim == "worker":
            if not (workers := cluster.workers()):
                continue
            chance.choice(workers).kill()
        else:
            cluster.processes[victim].kill()
            cluster.processes[victim].wait()
            cluster.launch(victim)
        done[victim] += 1
    return done


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
            over, killed = threading.Event(), Counter[str]()
            killer = threading.Thread(target=lambda: killed.update(disturb(cluster, arguments.kills, arguments.seed, over)))
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
    print(f"{len(rows)} of {arguments.pages} pages read by {arguments.clients} clients in {spent:.0f} s; killed: {dict(killed)}")
    print(f"lost {arguments.pages - len(rows)}, read differently {different}; slowest pages {[round(s, 1) for s in slowest]} s")


if __name__ == "__main__":
    main()
