"""Keeps one slice busy and says what share of the device it achieved.

usage: busy.py PER_CENT POLICY CALL_MS CALLS_IN_FLIGHT SECONDS KIND CORE

CORE is where the worker executes; "" leaves that to the operating system.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import gpupool
from gpupool_wire.messages import ModelOptions

# Run as a script, from anywhere.
sys.path.insert(0, str(Path(__file__).parents[2]))
from bench.programs.products import SIZE, products, steps_of


def worker_of(slice_: gpupool.Slice) -> psutil.Process:
    """The process that listens where this slice's link leads (bench and workers share a machine)."""
    port = int(slice_.link().worker.rsplit(":", 1)[1])
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            return psutil.Process(connection.pid)
    raise SystemExit(f"no process listens at port {port}")


def executors_of(worker: psutil.Process) -> list[Any]:
    """The threads of a worker that execute calls."""
    names = Path(f"/proc/{worker.pid}/task")
    return [thread for thread in worker.threads() if (names / str(thread.id) / "comm").read_text().startswith("executor-")]


def executed_seconds(worker: psutil.Process) -> float:
    """What the threads that execute have spent on the processors."""
    return sum(thread.user_time + thread.system_time for thread in executors_of(worker))


compute, policy, call_ms, flight, seconds, kind, core = sys.argv[1:]
feed = {"x0": np.ones((SIZE, SIZE), np.float32)}
with gpupool.connect() as pool, pool.slice(compute=int(compute), memory="512MiB", policy=policy, kind=kind, wait=10) as slice_:
    options = ModelOptions(intra_op_num_threads=1, inter_op_num_threads=1)
    steps = steps_of(slice_, float(call_ms))
    model = slice_.open_model(products(steps), options)
    model.run(feed)
    worker = worker_of(slice_)
    if core:
        for thread in executors_of(worker):
            os.sched_setaffinity(thread.id, {int(core)})
    print("ready", flush=True)
    sys.stdin.readline()
    stop = time.monotonic() + float(seconds) + 3.0

    def drive() -> None:
        while time.monotonic() < stop:
            model.run(feed)

    threads = [threading.Thread(target=drive) for _ in range(int(flight))]
    for thread in threads:
        thread.start()
    time.sleep(2.0)  # what was saved up while idle is spent first
    before, busy_before, start = slice_.usage(), executed_seconds(worker), time.monotonic()
    time.sleep(float(seconds))
    after, busy_after, end = slice_.usage(), executed_seconds(worker), time.monotonic()
    for thread in threads:
        thread.join()
    achieved = (after.device_ns - before.device_ns) / 1e9 / (end - start) * 100
    outside = (busy_after - busy_before) / (end - start) * 100
print(json.dumps({"achieved_pct": achieved, "outside_pct": outside, "steps": steps}), flush=True)
