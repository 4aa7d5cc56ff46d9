"""Round trips of a small call and of an array operation through the pool, against a bare pyzmq ping-pong of two processes.

    python -m bench.small_call [--calls 2000] [--rounds 5]

The model adds 16 float32 numbers to themselves, so the device's part is small; the ping-pong sends as many bytes in as many
frames and does nothing with them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import zmq
from onnx import TensorProto, helper

import gpupool
from bench.paired import run_paired
from gpupool_wire.messages import ModelOptions


def doubling() -> bytes:
    """A model that adds its input to itself."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "g",
        [info("x", TensorProto.FLOAT, [16])],
        [info("y", TensorProto.FLOAT, [16])],
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())


def echo(port: Connection) -> None:
    """Send back what arrives, for as long as the parent lives."""
    socket = zmq.Context().socket(zmq.ROUTER)
    port.send(socket.bind_to_random_port("tcp://127.0.0.1"))
    while True:
        socket.send_multipart(socket.recv_multipart())


def median_us(call: Callable[[], object], calls: int) -> float:
    """Return the median of many calls, in microseconds."""
    spent = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        call()
        spent.append(time.perf_counter_ns() - start)
    return statistics.median(spent) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=echo, args=(theirs,), daemon=True)
    server.start()
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(f"tcp://127.0.0.1:{ours.recv()}")
    header, payload = bytes(60), bytes(64)

    def ping() -> None:
        socket.send_multipart([header, payload])
        socket.recv_multipart()

    with gpupool.embedded_pool() as pool, pool.slice(compute=100, memory="512MiB", wait=10) as slice_:
        model = slice_.open_model(doubling(), ModelOptions(intra_op_num_threads=1))
        feed = {"x": np.ones(16, np.float32)}
        median_us(ping, 500)
        median_us(lambda: model.run(feed), 500)
        one = slice_.xp.asarray(1.0)
        median_us(lambda: float(one + 1), 500)
        paired = run_paired(
            {
                "bare pyzmq ping-pong": lambda: median_us(ping, arguments.calls),
                "small call through the pool": lambda: median_us(lambda: model.run(feed), arguments.calls),
                "array operation and its read": lambda: median_us(lambda: float(one + 1), arguments.calls),
            },
            arguments.rounds,
        )
        timing = model.last_timing
    print(paired.table("us, median"))
    if timing:
        print(f"\nof the last call: execute {timing.execute_ns / 1000:.0f} us, throttle {timing.throttle_ns / 1000:.0f} us")
    server.kill()
    server.join()
    socket.close(0)


if __name__ == "__main__":
    main()
