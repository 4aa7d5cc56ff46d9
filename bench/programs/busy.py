"""Keeps one slice busy and says what share of the device it achieved.

usage: busy.py PER_CENT POLICY CALL_MS CALLS_IN_FLIGHT SECONDS KIND
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from onnx import TensorProto, helper, numpy_helper

import gpupool
from gpupool_wire.messages import ModelOptions

SIZE = 192


def products(steps: int) -> bytes:
    """A chain of matrix products: a call's length is proportional to `steps`."""
    info, rng = helper.make_tensor_value_info, np.random.default_rng(1)
    weights = rng.standard_normal((SIZE, SIZE), dtype=np.float32) / np.float32(np.sqrt(SIZE))
    nodes = [helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"]) for i in range(steps)]
    shape = [SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x0", TensorProto.FLOAT, shape)],
        [info(f"x{steps}", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def worker_of(slice_: gpupool.Slice) -> psutil.Process:
    """The process that listens where this slice's link leads (bench and workers share a machine)."""
    port = int(slice_.link().worker.rsplit(":", 1)[1])
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            return psutil.Process(connection.pid)
    raise SystemExit(f"no process listens at port {port}")


def keep_apart(worker: psutil.Process) -> None:
    """Give what executes the first core, which then is the device, and all else the others: as it is with a GPU."""
    first, *others = sorted(os.sched_getaffinity(0))
    if kind != "cpu" or not others:
        return
    for process in (worker, psutil.Process()):
        for thread in process.threads():
            name = Path(f"/proc/{process.pid}/task/{thread.id}/comm").read_text()
            os.sched_setaffinity(thread.id, {first} if name.startswith("executor-") else set(others))


def executed_seconds(worker: psutil.Process) -> float:
    """What the threads that execute have spent on the processors."""
    spent = 0.0
    for thread in worker.threads():
        if Path(f"/proc/{worker.pid}/task/{thread.id}/comm").read_text().startswith("executor-"):
            spent += thread.user_time + thread.system_time
    return spent


compute, policy, call_ms, flight, seconds, kind = sys.argv[1:]
feed = {"x0": np.ones((SIZE, SIZE), np.float32)}
with gpupool.connect() as pool, pool.slice(compute=int(compute), memory="512MiB", policy=policy, kind=kind, wait=10) as slice_:
    options = ModelOptions(intra_op_num_threads=1, inter_op_num_threads=1)
    probe = slice_.open_model(products(200), options)
    for _ in range(5):
        probe.run(feed)
    timing = probe.last_timing
    steps = max(1, round(200 * float(call_ms) * 1e6 / timing.execute_ns)) if timing else 200
    probe.close()
    model = slice_.open_model(products(steps), options)
    model.run(feed)
    worker = worker_of(slice_)
    keep_apart(worker)
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
