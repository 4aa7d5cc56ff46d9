"""Calls as programs make them: many tiny ones, many at once, interrupted ones, after a fork; on streams and at the port."""

from __future__ import annotations

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
from gpupool import stream

pytestmark = pytest.mark.system

X = np.arange(6, dtype=np.float32)
TINY_CALLS = 10_000
#: Fills the sockets' buffers many times over, so that an interrupt meets it on its way.
MEGABYTES = 48


def counting() -> bytes:
    """next = state + x: a model whose state the caller carries."""
    info = helper.make_tensor_value_info
    ends = [info(name, TensorProto.INT64, [2]) for name in ("state", "x", "next")]
    graph = helper.make_graph([helper.make_node("Add", ["state", "x"], ["next"])], "counting", ends[:2], ends[2:])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())


@pytest.fixture(params=["on", "off"], ids=["streams", "port"])
def held(system_pool: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[gpupool.Slice]:
    monkeypatch.setenv(stream.VARIABLE, request.param)
    with system_pool.connect() as pool, pool.slice(40, "512MiB") as held:
        yield held


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
            for _ in range(5):
                x = np.full(size, number, np.float32)
                assert np.array_equal(model.run({"x": x})[0], x + x)

    with ThreadPoolExecutor(16) as threads:
        for _ in threads.map(drive, range(16)):
            pass


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
    assert np.array_equal(model.run({"x": X})[0], X + X)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(model.run({"x": X})[0], X + X) else 1)
    for _ in range(20):
        assert np.array_equal(model.run({"x": X})[0], X + X)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
