"""What calls through the pool cost, each as a ratio against its reference in the same run.

    python -m bench.client [--rounds 5] [--seconds 1.5] [--only calls,recognition,batching,transfers,chain]

calls        a model that adds 16 numbers, and an array operation with its read, against a bare pyzmq ping-pong of as many bytes
recognition  requests/s on a model shaped as recognition of a text line, 1 and 8 callers, against ONNX Runtime in this process
batching     requests/s of 8 callers with inputs of their own, batched by the worker and not: that model, and one of dense layers
transfers    1, 10 and 100 MB up and down as arrays of the slice, against a bare pyzmq copy between two processes; the same with
             tensors in the socket, and a copy within this process
chain        100 operations on an array, read once: questions the client asked

Everything shares the machine's cores, the pool's own processes too. The program runs as `gpupool run` would run it: with glibc's
thresholds raised, so that large buffers are kept for reuse. GPUPOOL_LOCAL_STREAM=off measures calls over
ZeroMQ, GPUPOOL_SHARED_MEMORY=off with tensors in the socket.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnxruntime as ort

import gpupool
from bench.paired import run_paired
from bench.programs.pingpong import PingPong
from bench.programs.recognition import SHAPE, dense, doubling, image, recognition
from gpupool import shared_memory
from gpupool.hooking import MALLOC
from gpupool_wire.messages import ModelOptions

OPTIONS = ModelOptions(intra_op_num_threads=1, inter_op_num_threads=1)
CALLERS = (1, 8)
MEGABYTES = (1, 10, 100)
CHAIN = 100


def median_us(call: Callable[[], object], calls: int) -> float:
    """Return the median of many calls, in microseconds."""
    spent = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        call()
        spent.append(time.perf_counter_ns() - start)
    return sorted(spent)[calls // 2] / 1000


def per_second(call: Callable[[int], object], callers: int, seconds: float) -> float:
    """Return how many calls so many threads get done in a second; each is called with its thread's number."""
    counts = [0] * callers
    stop = time.monotonic() + seconds

    def drive(number: int) -> None:
        while time.monotonic() < stop:
            call(number)
            counts[number] += 1

    start = time.monotonic()
    threads = [threading.Thread(target=drive, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


@contextmanager
def ping_pong() -> Iterator[PingPong]:
    """A process that answers over bare pyzmq."""
    other = PingPong()
    try:
        yield other
    finally:
        other.close()


@contextmanager
def tensors_in_socket(slice_: gpupool.Slice) -> Iterator[None]:
    """Without shared memory, on channels of their own."""
    link, before = slice_.link(), os.environ.get(shared_memory.VARIABLE, "on")

    def renew(value: str) -> None:
        os.environ[shared_memory.VARIABLE] = value
        link._drop(link._take_idle(math.inf))

    renew("off")
    try:
        yield
    finally:
        renew(before)


def calls(slice_: gpupool.Slice, rounds: int, seconds: float) -> None:
    """Round trips of small calls."""
    model = slice_.open_model(doubling(), OPTIONS)
    feed, one = {"x": np.ones(16, np.float32)}, slice_.xp.asarray(1.0)
    count = int(1000 * seconds)
    with ping_pong() as other:
        contenders: dict[str, Callable[[], object]] = {
            "bare pyzmq ping-pong": lambda: other.ask([bytes(60), bytes(64)]),
            "small call": lambda: model.run(feed),
            "array operation and read": lambda: float(one + 1),
        }
        for call in contenders.values():
            median_us(call, 300)
        timed = {name: lambda call=call: median_us(call, count) for name, call in contenders.items()}  # type: ignore[misc]
        print(run_paired(timed, rounds).table("us, median"), flush=True)


def recognitions(slice_: gpupool.Slice, rounds: int, seconds: float) -> None:
    """Requests a second of about a millisecond of work and a megabyte each."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    local = ort.InferenceSession(recognition(), options)
    model, feed = slice_.open_model(recognition(), OPTIONS), {"image": image()}
    if not np.array_equal(local.run(None, feed)[0], model.run(feed)[0]):
        raise SystemExit("the pool returns something else than ONNX Runtime does locally")
    for callers in CALLERS:
        contenders = {
            f"in process, {callers} callers": lambda: per_second(lambda _: local.run(None, feed), callers, seconds),  # noqa: B023
            f"the pool, {callers} callers": lambda: per_second(lambda _: model.run(feed), callers, seconds),  # noqa: B023
        }
        for contender in contenders.values():
            contender()
        print(run_paired(contenders, rounds).table("calls/s"), flush=True)


def batching(slice_: gpupool.Slice, rounds: int, seconds: float) -> None:
    """Requests a second of many callers, whose calls the worker may execute together."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    callers = max(CALLERS)
    models = {"recognition": (recognition(), "image", SHAPE), "dense layers": (dense(), "h0", (1, 1024))}
    for name, (model, input_name, shape) in models.items():
        feeds = [{input_name: np.random.default_rng(seed).standard_normal(shape, np.float32)} for seed in range(callers)]
        local = ort.InferenceSession(model, options)
        batched, alone = (slice_.open_model(model, OPTIONS, batching=asked) for asked in (True, False))
        contenders = {
            f"{name}, in process": lambda: per_second(lambda i: local.run(None, feeds[i]), callers, seconds),  # noqa: B023
            "the pool, batching": lambda: per_second(lambda i: batched.run(feeds[i]), callers, seconds),  # noqa: B023
            "the pool, each alone": lambda: per_second(lambda i: alone.run(feeds[i]), callers, seconds),  # noqa: B023
        }
        for contender in contenders.values():
            contender()
        before = slice_.usage()
        print(run_paired(contenders, rounds).table("calls/s"), flush=True)
        after = slice_.usage()
        print(f"{after.batched_calls - before.batched_calls} of {after.calls - before.calls} calls of the pool were batched")


def transfers(slice_: gpupool.Slice, rounds: int, _seconds: float) -> None:
    """Megabytes a second, up and down."""
    xp = slice_.xp
    with ping_pong() as other:
        for megabytes in MEGABYTES:
            data = np.random.default_rng(0).integers(0, 256, megabytes * 1_000_000, np.uint8)
            held = xp.asarray(data)
            repeats = max(3, 60 // megabytes)

            def up(data: Any = data) -> None:
                int(xp.asarray(data)[-1])  # the read says that it has arrived

            def down(held: Any = held) -> None:
                np.asarray(held)

            def in_socket(call: Callable[[], object], repeats: int = repeats) -> float:
                with tensors_in_socket(slice_):
                    return median_us(call, repeats)

            contenders: dict[str, Callable[[], object]] = {
                f"bare pyzmq, {megabytes} MB up": lambda data=data: other.ask([b"s", data]),  # type: ignore[misc]
                "the pool, up": up,
                "bare pyzmq, down": lambda data=data: other.ask([b"f", str(len(data)).encode()]),  # type: ignore[misc]
                "the pool, down": down,
                "memcpy": data.copy,
            }
            speeds = {
                name: lambda call=call: megabytes * 1e6 / median_us(call, repeats)  # type: ignore[misc]  # noqa: B023
                for name, call in contenders.items()
            }
            speeds["the pool, up, in the socket"] = lambda: megabytes * 1e6 / in_socket(up)  # noqa: B023
            speeds["the pool, down, in the socket"] = lambda: megabytes * 1e6 / in_socket(down)  # noqa: B023
            print(run_paired(speeds, rounds).table("MB/s"), flush=True)


def chain(slice_: gpupool.Slice, _rounds: int, _seconds: float) -> None:
    """Questions asked for a chain of operations that is read once."""
    array = slice_.xp.asarray(np.ones(1000, np.float32))
    float(array[0])
    before, start = slice_.traffic.questions, time.perf_counter_ns()
    result = array
    for _ in range(CHAIN // 2):
        result = result * 1.01 + 0.5
    float(result[0])
    took_us = (time.perf_counter_ns() - start) / 1000
    print(f"{CHAIN} operations and a read: {slice_.traffic.questions - before} questions, {took_us:.0f} us")


PARTS = {"calls": calls, "recognition": recognitions, "batching": batching, "transfers": transfers, "chain": chain}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--only", default=",".join(PARTS), help=f"which parts, with commas, of {', '.join(PARTS)}")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only: there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.execve(sys.executable, [sys.executable, "-m", "bench.client", *sys.argv[1:]], {**os.environ, **MALLOC})
    with gpupool.embedded_pool() as pool, pool.slice(compute=100, memory="1GiB", wait=10) as slice_:
        for name in names:
            print(f"── {name}", flush=True)
            PARTS[name](slice_, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
