"""A lone `fixed` slice of 100 % against the same work without a throttle.

    python -m bench.lone [--rounds 8] [--seconds 4]

Two pools stand side by side, and take turns. They differ in one constant of their agents: the one without a throttle grants an
hour at a time, so that no turn ever ends. Calls a second through the whole pool, in six calls at a time and in one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import gpupool
from bench.cluster import Cluster
from bench.paired import run_paired
from bench.programs.products import SIZE, products, steps_of
from gpupool.models import Model
from gpupool_wire.messages import ModelOptions

UNTHROTTLED = """
import sys
from gpupool_agent.core import throttle
throttle.LONE_QUANTUM_NS = 3_600_000_000_000
from gpupool.cli import main
sys.argv = ["gpupool", "agent", *sys.argv[1:]]
main()
"""
FEED = {"x0": np.ones((SIZE, SIZE), np.float32)}


def calls_per_second(model: Model, flight: int, seconds: float) -> float:
    """Return what `flight` callers get done."""
    counts = [0] * flight
    stop = time.monotonic() + seconds

    def drive(number: int) -> None:
        while time.monotonic() < stop:
            model.run(FEED)
            counts[number] += 1

    start = time.monotonic()
    threads = [threading.Thread(target=drive, args=(number,)) for number in range(flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpupool-lone-") as folder:
        clusters = {
            "without a throttle": Cluster(Path(folder) / "free", ("agent-1",), agent_command=(sys.executable, "-c", UNTHROTTLED)),
            "fixed, 100 %": Cluster(Path(folder) / "throttled", ("agent-1",)),
        }
        try:
            for cluster in clusters.values():
                cluster.home.mkdir()
                cluster.start()
            pools = {name: gpupool.connect(cluster.url, cluster.token) for name, cluster in clusters.items()}
            slices = {name: pool.slice(100, "512MiB") for name, pool in pools.items()}
            options = ModelOptions(intra_op_num_threads=1, inter_op_num_threads=1)
            for call_ms in (2, 20):
                steps = steps_of(next(iter(slices.values())), call_ms)
                models = {name: slice_.open_model(products(steps), options) for name, slice_ in slices.items()}
                for flight in (6, 1):
                    contenders = {
                        name: lambda model=model: calls_per_second(model, flight, arguments.seconds)  # noqa: B023
                        for name, model in models.items()
                    }
                    print(f"calls of {call_ms} ms, {flight} in flight")
                    print(run_paired(contenders, arguments.rounds).table("calls/s"), flush=True)
                for model in models.values():
                    model.close()
            for slice_ in slices.values():
                slice_.release()
        finally:
            for cluster in clusters.values():
                cluster.stop()


if __name__ == "__main__":
    main()
