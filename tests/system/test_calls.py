"""Calls as programs make them: many tiny ones, many at once, interrupted ones, after a fork.

With tensors in shared memory, in the streams' sockets, and at the port.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import gpupool
from gpupool import shared_memory, stream
from gpupool.models import Model
from gpupool_wire.messages import ModelOptions

pytestmark = pytest.mark.system

X = np.arange(6, dtype=np.float32)
LARGE = np.arange(300_000, dtype=np.float32)
TINY_CALLS = 10_000
#: Fills the sockets' buffers many times over, so that an interrupt meets it on its way.
MEGABYTES = 48


def counting() -> bytes:
    """next = state + x: a model whose state the caller carries."""
    info = helper.make_tensor_value_info
    ends = [info(name, TensorProto.INT64, [2]) for name in ("state", "x", "next")]
    graph = helper.make_graph([helper.make_node("Add", ["state", "x"], ["next"])], "counting", ends[:2], ends[2:])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())


def fading(steps: int = 1500) -> bytes:
    """Some milliseconds of small steps, each of which takes as long for eight rows as for one. Any number of rows."""
    info = helper.make_tensor_value_info
    names = ["x", *(f"h{step}" for step in range(steps - 1)), "y"]
    nodes = [helper.make_node("Mul", [before, "w"], [after]) for before, after in itertools.pairwise(names)]
    ends = [[info(name, TensorProto.FLOAT, ["N", 4])] for name in "xy"]
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4], [0.999] * 4)
    graph = helper.make_graph(nodes, "fading", *ends, [weights])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())


@pytest.fixture(params=[("on", "on"), ("on", "off"), ("off", "off")], ids=["memory", "sockets", "port"])
def held(system_pool: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[gpupool.Slice]:
    for variable, value in zip((stream.VARIABLE, shared_memory.VARIABLE), request.param, strict=True):
        monkeypatch.setenv(variable, value)
    with system_pool.connect() as pool, pool.slice(40, "512MiB") as held:
        yield held


def test_calls_of_many_threads_are_batched_unless_they_must_not_be_and_are_counted_one_by_one(held: gpupool.Slice) -> None:
    expected = np.float32(1)
    for _ in range(1500):
        expected *= np.float32(0.999)
    asis = ModelOptions(graph_optimization_level=0, intra_op_num_threads=1)

    def batched(model: Model, calls: int = 25) -> int:
        """Have calls made by eight threads, with an input each; return how many of them were in batches."""

        def call(number: int) -> bool:
            x = np.full((1, 4), 2.0 ** (number % 60), np.float32)  # so that rounding is the same for all
            assert (model.run({"x": x})[0] == x * expected).all()
            return model.last_timing is not None and model.last_timing.batched > 0

        with ThreadPoolExecutor(8) as threads:
            return sum(threads.map(call, range(8 * calls)))

    with held.profile() as profile:
        assert batched(held.open_model(fading(), asis, batching=False)) == 0
        together = batched(held.open_model(fading(), asis))
    assert 0 < together < 8 * 25
    assert profile.total.batched == held.usage().batched_calls == together
    assert held.usage().calls == 2 * 8 * 25


def test_ten_thousand_tiny_calls_carry_their_state(held: gpupool.Slice) -> None:
    model = held.open_model(counting())
    state, x = np.zeros(2, np.int64), np.array([1, 3], np.int64)
    for _ in range(TINY_CALLS):
        (state,) = model.run({"state": state, "x": x})
    assert state.tolist() == [TINY_CALLS, 3 * TINY_CALLS]
    assert "1 channels, 1 idle" in repr(held.link())


def test_every_thread_gets_its_own_answers(held: gpupool.Slice, doubling: bytes) -> None:
    model = held.open_model(doubling)

    def drive(number: int) -> None:
        for size in (1, 5_000, 300_000):
            for _ in range(3):
                x = np.full(size, number, np.float32)
                assert np.array_equal(model.run({"x": x})[0], x + x)

    with ThreadPoolExecutor(100) as threads:
        for _ in threads.map(drive, range(100)):
            pass


def test_results_outlive_the_calls_after_them_and_the_slice(system_pool: Any, doubling: bytes) -> None:
    with system_pool.connect() as pool, pool.slice(40, "512MiB") as held:
        model = held.open_model(doubling)
        results = [model.run({"x": LARGE + number})[0] for number in range(5)]
    for number, result in enumerate(results):
        assert np.array_equal(result, 2 * (LARGE + number))
        result += 1  # the program's own


def test_an_interrupt_in_the_middle_of_a_transfer_leaves_the_link_usable(held: gpupool.Slice, doubling: bytes) -> None:
    model = held.open_model(doubling)
    large = np.ones(MEGABYTES * 250_000, np.float32)
    link, interrupted = held.link(), 0
    for delay_s in (0.001, 0.005, 0.02, 0.05):
        timer = threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            while True:
                model.run({"x": large})
        except KeyboardInterrupt:
            interrupted += 1
        assert np.array_equal(model.run({"x": X})[0], X + X)
    assert interrupted == 4
    assert held.link() is link


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_parent_and_child_both_call_after_a_fork(held: gpupool.Slice, doubling: bytes) -> None:
    model = held.open_model(doubling)
    (before,) = model.run({"x": LARGE})
    child = os.fork()
    if child == 0:
        is_right = np.array_equal(model.run({"x": LARGE - 1})[0], 2 * (LARGE - 1)) and np.array_equal(before, 2 * LARGE)
        os._exit(0 if is_right else 1)
    for _ in range(20):
        assert np.array_equal(model.run({"x": LARGE + 1})[0], 2 * (LARGE + 1))
    assert np.array_equal(before, 2 * LARGE)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
