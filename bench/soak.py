"""Random lives of slices for minutes, with crashes: nobody gets what another has, and nothing piles up.

    python -m bench.soak [--minutes 10] [--seed 1]

Several drivers ask for slices of null and cpu devices, call them, resize them up and down, release them or leave them to their
end, while workers, agents and the broker are killed now and then. Every second what REST shows is added up against what the
devices offer. Once a minute everything is released; then the memory and descriptors of broker and agents are written down, by
process: those of one that was not killed meanwhile must not grow.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import gpupool
from bench.cluster import Cluster
from bench.programs.products import SIZE, products
from gpupool.rest import RestClient

DRIVERS = 4
FEED = {"x0": np.ones((SIZE, SIZE), np.float32)}
#: Growth of an idle process from one minute to the last that is called flat: descriptors, and MiB.
FLAT_FDS, FLAT_MIB = 4, 24


@dataclass
class Soak:
    """One run and what it saw."""

    cluster: Cluster
    model: bytes
    rest: RestClient
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    #: Held for a moment by every driver's step, and by the minute's stocktaking for as long as it takes.
    calm: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    resting: list[bool] = field(default_factory=list)
    stock: dict[int, list[tuple[str, int, float]]] = field(default_factory=lambda: defaultdict(list))

    def drive(self, number: int, seed: int) -> None:
        """Live random lives until told to stop."""
        chance = random.Random(seed)
        while not self.over.is_set():
            if self.calm.is_set():
                self.resting[number] = True
                time.sleep(0.05)
                continue
            self.resting[number] = False
            try:
                self._life(chance)
            except gpupool.GpupoolError as error:
                # Refusals are part of the game, and so is what a killed part takes along.
                self.done[type(error).__name__] += 1

    def _life(self, chance: random.Random) -> None:
        kind = chance.choice(["null", "null", "cpu"])
        with gpupool.connect(self.cluster.url, self.cluster.token, timeout=20) as pool:
            slice_ = pool.slice(
                chance.randint(1, 60), chance.choice([64, 256, 700]), kind=kind, policy=chance.choice(["fixed", "burst"])
            )
            self.done["granted"] += 1
            try:
                model = slice_.open_model(self.model) if kind == "cpu" else None
                for _ in range(chance.randint(0, 6)):
                    if self.calm.is_set() or self.over.is_set():
                        return
                    self._step(chance, slice_, model)
            finally:
                slice_.release()

    def _step(self, chance: random.Random, slice_: gpupool.Slice, model: gpupool.Model | None) -> None:
        match chance.choice(["run", "run", "compute", "memory", "usage"]):
            case "run" if model is not None:
                model.run(FEED)
                self.done["calls"] += 1
            case "compute":
                slice_.resize(compute=chance.randint(1, 100))
                self.done["resized"] += 1
            case "memory":
                slice_.resize(memory=chance.choice([32, 128, 512, 2048]), deadline=chance.choice([None, 0.1]))
                self.done["resized"] += 1
            case _:
                slice_.usage()

    def kill_one(self) -> None:
        """Kill a part: mostly a worker, sometimes an agent, seldom the broker."""
        victim = self.chance.choices(["worker", *self.cluster.agents, "broker"], [6, *[1] * len(self.cluster.agents), 1])[0]
        if victim == "worker":
            if workers := self.cluster.workers():
                self.chance.choice(workers).kill()
        else:
            self.cluster.processes[victim].kill()
            self.cluster.processes[victim].wait()
            self.cluster.launch(victim)
        self.done[f"killed {victim}"] += 1

    def add_up(self) -> None:
        """Compare what is held with what there is."""
        try:
            devices, slices = self.rest.get("/devices"), self.rest.get("/slices")
        except gpupool.PoolUnreachable:
            return  # just being started again
        for device in devices:
            here = [
                row
                for row in slices
                if row["state"] == "live" and (row["node"], row["device"]) == (device["node"], device["device"])
            ]
            compute, memory = sum(row["compute_pct"] for row in here), sum(row["memory_mib"] for row in here)
            if compute > 100 or memory > device["memory_mib"]:
                self.broken.append(f"{device['node']}/{device['device']} promises {compute} % and {memory} MiB")

    def take_stock(self) -> None:
        """With nothing held any more, write down what broker and agents use."""
        self.calm.set()
        deadline = time.monotonic() + 90
        while not (all(self.resting) and self._is_empty()):
            if time.monotonic() > deadline:
                self.broken.append(f"90 s after everything was released there still is {self.rest.get('/slices')}")
                break
            time.sleep(0.1)
        for name, process in self.cluster.processes.items():
            seen = psutil.Process(process.pid)
            self.stock[process.pid].append((name, seen.num_fds(), seen.memory_info().rss / 2**20))
        self.calm.clear()

    def _is_empty(self) -> bool:
        try:
            return not self.rest.get("/slices") and not self.cluster.workers()
        except gpupool.PoolUnreachable:
            return False

    def grown(self) -> list[str]:
        """Return the processes that grew from their second stocktaking to their last (the first is before they are warm)."""
        found = []
        for pid, rows in self.stock.items():
            if len(rows) >= 3:
                (name, fds, mib), (_, last_fds, last_mib) = rows[1], rows[-1]
                if last_fds > fds + FLAT_FDS or last_mib > mib + FLAT_MIB:
                    found.append(f"{name} ({pid}): {fds} → {last_fds} descriptors, {mib:.0f} → {last_mib:.0f} MiB")
        return found


def soak(cluster: Cluster, minutes: float, seed: int) -> Soak:
    """Run it."""
    assert cluster.rest is not None
    run = Soak(cluster, products(3), cluster.rest, random.Random(seed), resting=[False] * DRIVERS)
    drivers: list[Any] = [threading.Thread(target=run.drive, args=(number, seed + number)) for number in range(DRIVERS)]
    for driver in drivers:
        driver.start()
    start = stocktaken = killed = time.monotonic()
    pause = 5.0
    while time.monotonic() - start < minutes * 60:
        time.sleep(1)
        run.add_up()
        if time.monotonic() - killed > pause:
            run.kill_one()
            killed, pause = time.monotonic(), run.chance.uniform(2, 12)
        if time.monotonic() - stocktaken > min(60.0, minutes * 12):
            run.take_stock()
            stocktaken = time.monotonic()
            print(f"{stocktaken - start:5.0f} s  {dict(run.done)}", flush=True)
    run.over.set()
    for driver in drivers:
        driver.join()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpupool-soak-") as folder:
        cluster = Cluster(Path(folder), devices=("--device", "cpu", "--cpu-memory", "4GiB", "--null", "2"))
        try:
            cluster.start()
            run = soak(cluster, arguments.minutes, arguments.seed)
        finally:
            cluster.stop()
    for pid, rows in run.stock.items():
        if len(rows) > 1:
            print(f"{rows[0][0]:8} {pid:7} " + "  ".join(f"{fds} fds {mib:.0f} MiB" for _, fds, mib in rows))
    print(f"\ninvariants broken: {run.broken or 'none'}; grown: {run.grown() or 'none'}")
    sys.exit(bool(run.broken or run.grown()))


if __name__ == "__main__":
    main()
