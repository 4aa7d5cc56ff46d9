"""What it costs that arrays survive: keeping what they are made of, making them again on the next worker, and seeing every call.

    python -m bench.resume [--rounds 5] [--moves 3]

Keeping: operations and uploads with nothing kept (GPUPOOL_RESUME=0) against the default. Moving: a worker is killed, and the time
until a value is read again is taken, for a slice with one number and for slices with more. Profiling: a small call with and
without.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import gpupool
from bench.client import median_us
from bench.cluster import Cluster
from bench.paired import run_paired
from bench.programs.recognition import doubling
from gpupool.arrays import Namespace
from gpupool.profiling.files import SpanFile
from gpupool_wire.messages import ModelOptions
from gpupool_wire.units import MIB

OPERATIONS = 1000


def chain(xp: Any) -> float:
    """Return the microseconds of an operation in a chain that is read once."""
    x = xp.asarray(1.0)
    start = time.perf_counter()
    for _ in range(OPERATIONS):
        x = x + 1
    float(x)
    return (time.perf_counter() - start) / OPERATIONS * 1e6


def upload(xp: Any, array: Any) -> float:
    """Return the milliseconds of an upload."""
    start = time.perf_counter()
    xp.asarray(array)
    took = (time.perf_counter() - start) * 1e3
    xp.stream.flush()
    return took


def keeping(held: gpupool.Slice, rounds: int) -> None:
    """Print what keeping costs."""
    nothing, kept = Namespace(held), Namespace(held)
    nothing.stream.holding._history.limit_bytes = 0
    for xp in (nothing, kept):
        chain(xp)
    paired = run_paired({"nothing kept": partial(chain, nothing), "kept": partial(chain, kept)}, rounds)
    print(f"\nan operation of {OPERATIONS}\n{paired.table('us')}")
    for size in (1, 10, 100):
        array = np.ones(size * MIB, np.uint8)
        paired = run_paired({"nothing kept": partial(upload, nothing, array), "kept": partial(upload, kept, array)}, rounds)
        print(f"\nan upload of {size} MiB\n{paired.table('ms')}")


def nothing_much(xp: Any) -> Any:
    """A number."""
    return xp.asarray(1.0)


def operations(xp: Any) -> Any:
    """A small array after 10,000 operations."""
    x = xp.asarray(np.ones(16))
    for _ in range(10_000):
        x = x * 0.5 + 1
    return x[0]


def uploads(xp: Any) -> Any:
    """100 MiB of uploads."""
    return sum_of(xp, [xp.asarray(np.full(10 * MIB // 8, float(n))) for n in range(10)])


def sum_of(xp: Any, arrays: list[Any]) -> Any:
    """The first elements' sum; the arrays stay."""
    total = xp.asarray(0.0)
    for array in arrays:
        total = total + array[0]
    total_and_all.append(arrays)
    return total


total_and_all: list[Any] = []


def matrices(xp: Any) -> Any:
    """200 products of 512 x 512, about a second of device time."""
    x, w = xp.asarray(np.ones((512, 512), np.float32)), xp.asarray(np.full((512, 512), 1e-3, np.float32))
    for _ in range(200):
        x = xp.tanh(x @ w)
        float(x[0, 0])
    return x[0, 0]


def moving(cluster: Cluster, pool: gpupool.Pool, moves: int) -> None:
    """Print how long it takes until arrays are there again after their worker was killed."""
    print(f"\n{'killed worker, until a value is read':44} {'ms':>8} {'min':>8} {'max':>8}")
    for make in (nothing_much, operations, uploads, matrices):
        took = []
        for _ in range(moves):
            with pool.slice(compute=100, memory="1GiB", wait=10) as held:
                value = make(held.xp)
                expected = float(value)
                for worker in psutil.Process(cluster.processes["agent-1"].pid).children():
                    worker.kill()
                    worker.wait()
                start = time.perf_counter()
                if float(value) != expected:
                    raise SystemExit(f"{make.__doc__}: {float(value)} is not {expected}")
                took.append((time.perf_counter() - start) * 1e3)
            total_and_all.clear()
        print(f"{str(make.__doc__).rstrip('.'):44} {statistics.median(took):8.1f} {min(took):8.1f} {max(took):8.1f}")


def profiling(held: gpupool.Slice, rounds: int) -> None:
    """Print what a profile costs a small call."""
    model, feed = held.open_model(doubling(), ModelOptions(intra_op_num_threads=1)), {"x": np.ones(16, np.float32)}

    def call() -> object:
        return model.run(feed)

    def profiled() -> float:
        with held.profile():
            return median_us(call, 1000)

    def filed() -> float:
        with tempfile.TemporaryDirectory() as folder:
            sink = SpanFile(Path(folder))
            held._listeners.add(sink)
            try:
                return median_us(call, 1000)
            finally:
                held._listeners.remove(sink)

    median_us(call, 500)
    contenders: dict[str, Callable[[], float]] = {"not profiled": lambda: median_us(call, 1000)}
    contenders |= {"slice.profile()": profiled, "gpupool run --profile": filed}
    print(f"\na small call\n{run_paired(contenders, rounds).table('us, median')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--moves", type=int, default=3)
    arguments = parser.parse_args()
    os.environ.pop("GPUPOOL_RESUME", None)
    with tempfile.TemporaryDirectory() as home:
        cluster = Cluster(Path(home), agents=("agent-1",))
        try:
            cluster.start()
            with gpupool.connect(cluster.url, cluster.token) as pool:
                with pool.slice(compute=100, memory="2GiB", wait=10) as held:
                    keeping(held, arguments.rounds)
                    profiling(held, arguments.rounds)
                moving(cluster, pool, arguments.moves)
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
