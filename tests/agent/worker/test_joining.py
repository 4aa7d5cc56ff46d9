"""Calls that wait together: executed as one where that changes no bit, each with its own result, its own error, its own count."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from gpupool_agent.channel import Use
from gpupool_agent.standalone import StandaloneWorker
from gpupool_wire import messages as m
from gpupool_wire.errors import ExecutionFailed

pytestmark = pytest.mark.system
Start = Callable[..., StandaloneWorker]
Connect = Callable[..., Any]
info = helper.make_tensor_value_info
#: As the file says, so that there is something to save.
PLAIN = m.ModelOptions(graph_optimization_level=0, intra_op_num_threads=1)
#: Enough rounds for the first proofs of two, four and eight.
ROUNDS = 12


def chain_model(serialized: Callable[..., bytes], operators: Sequence[str] = ("Mul",) * 1500, width: int = 4) -> bytes:
    """Some milliseconds of steps, each of which takes as long for eight rows as for one."""
    nodes = [helper.make_node(operator, [f"h{i}", "w"], [f"h{i + 1}"]) for i, operator in enumerate(operators)]
    weights = numpy_helper.from_array(np.full(width, 0.999, np.float32), "w")
    ends = [f"h{len(operators)}"]
    return serialized(
        helper.make_graph(
            nodes,
            "chain",
            [info("h0", TensorProto.FLOAT, ["N", width])],
            [info(ends[0], TensorProto.FLOAT, ["N", width])],
            [weights],
        )
    )


def mixing_model(serialized: Callable[..., bytes]) -> bytes:
    """y = x less the largest of all rows, after some steps: what a row becomes depends on the others."""
    nodes = [helper.make_node("Identity", [f"h{i}"], [f"h{i + 1}"]) for i in range(1000)]
    nodes += [
        helper.make_node("ReduceMax", ["h1000"], ["top"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["h1000", "top"], ["y"]),
    ]
    ends = [info("h0", TensorProto.FLOAT, ["N", 4])], [info("y", TensorProto.FLOAT, ["N", 4])]
    return serialized(helper.make_graph(nodes, "mixing", *ends))


def picking_model(serialized: Callable[..., bytes]) -> bytes:
    """y = the rows of a table that x names, after some steps; a row it does not have is an error."""
    nodes = [helper.make_node("Identity", [f"h{i}"], [f"h{i + 1}"]) for i in range(1000)]
    nodes.append(helper.make_node("Gather", ["table", "h1000"], ["y"]))
    table = numpy_helper.from_array(np.arange(8, dtype=np.float32), "table")
    ends = [info("h0", TensorProto.INT64, ["N", 1])], [info("y", TensorProto.FLOAT, ["N", 1])]
    return serialized(helper.make_graph(nodes, "picking", *ends, [table]))


def growing_model(serialized: Callable[..., bytes]) -> bytes:
    """16 MiB of output for each row."""
    nodes = [
        helper.make_node("Shape", ["x"], ["rows"], end=1),
        helper.make_node("Concat", ["rows", "width"], ["shape"], axis=0),
        helper.make_node("Expand", ["x", "shape"], ["y"]),
    ]
    width = numpy_helper.from_array(np.array([4 * 2**20], np.int64), "width")
    ends = [info("x", TensorProto.FLOAT, ["N", 1])], [info("y", TensorProto.FLOAT, ["N", "M"])]
    return serialized(helper.make_graph(nodes, "growing", *ends, [width]))


class Together:
    """Channels of one link whose calls wait until all have arrived."""

    def __init__(self, worker: StandaloneWorker, clients: list[Any], session_id: int, eventually: Callable[..., Any]) -> None:
        self.worker = worker
        self.eventually = eventually
        self.clients = clients
        self.session_id = session_id

    def send(self, feeds: Sequence[dict[str, Any]]) -> None:
        """Send a call on each channel; they wait for their turn, all of them, and then have it."""
        self.worker.allow(grants=False)
        self.eventually(lambda: not self.worker.holds_grant)
        for client, feed in zip(self.clients, feeds, strict=False):
            client.send_run(self.session_id, feed)
            client.send(m.Ping(call_id=1))  # answered by the thread that has taken the call before
            assert isinstance(client.receive()[0], m.Pong)
        self.worker.allow(grants=True)

    def run(self, feeds: Sequence[dict[str, Any]]) -> list[Any]:
        """Return the first output of each."""
        self.send(feeds)
        return [client.result()[0] for client, _ in zip(self.clients, feeds, strict=False)]


@pytest.fixture
def together(start_worker: Start, connect: Connect, eventually: Callable[..., Any]) -> Callable[..., Together]:
    def make(model: bytes, *, callers: int = 9, options: m.ModelOptions = PLAIN, **worker_options: Any) -> Together:
        worker = start_worker(**{"memory_mib": 256, **worker_options})
        ticket = worker.admit("link")
        clients = [connect(worker, ticket) for _ in range(callers)]
        return Together(worker, clients, clients[0].open(model, options).session_id, eventually)

    return make


def numbers(seed: int, rows: int = 1, width: int = 4) -> Any:
    return np.random.default_rng(seed).standard_normal((rows, width), np.float32)


def expected(x: Any, steps: int = 1500) -> Any:
    for _ in range(steps):
        x = x * np.float32(0.999)
    return x


def test_calls_that_wait_are_executed_as_one_and_each_has_its_own_result(together: Any, models: Any) -> None:
    callers = together(chain_model(models.serialized))
    batched: list[int] = []
    for number in range(ROUNDS):
        feeds = [{"h0": numbers(100 * number + caller)} for caller in range(9)]
        for result, feed in zip(callers.run(feeds), feeds, strict=True):
            assert np.array_equal(result, expected(feed["h0"]))
        batched += [client.timing.batched for client in callers.clients]
    assert set(batched) >= {0, 4}, "two executors share nine calls"
    assert set(batched) <= {0, 2, 4, 8}
    usage = callers.clients[0].usage()
    assert usage.calls == 9 * ROUNDS
    assert usage.batched_calls == sum(count > 0 for count in batched) > 0
    callers.worker.wait_for(Use, matches=lambda use: use.batched_calls > 0)


def test_calls_of_several_rows_are_split_as_they_came(together: Any, models: Any) -> None:
    callers = together(chain_model(models.serialized), callers=5)
    batched = 0
    for number in range(ROUNDS):
        feeds = [{"h0": numbers(100 * number + caller, rows=1 + caller % 2)} for caller in range(5)]
        for result, feed in zip(callers.run(feeds), feeds, strict=True):
            assert np.array_equal(result, expected(feed["h0"]))
        batched += sum(client.timing.batched > 0 for client in callers.clients)
    assert batched > 0


def test_a_model_whose_rows_depend_on_one_another_is_never_batched(together: Any, models: Any) -> None:
    callers = together(mixing_model(models.serialized))
    for number in range(ROUNDS):
        feeds = [{"h0": numbers(100 * number + caller, rows=2)} for caller in range(9)]
        for result, feed in zip(callers.run(feeds), feeds, strict=True):
            assert np.array_equal(result, feed["h0"] - feed["h0"].max(axis=0, keepdims=True))
    assert callers.clients[0].usage().batched_calls == 0


def test_inputs_that_are_all_the_same_prove_nothing(together: Any, models: Any) -> None:
    callers = together(mixing_model(models.serialized))
    for _ in range(3):
        callers.run([{"h0": np.zeros((1, 4), np.float32)}] * 9)
    for number in range(ROUNDS):
        feeds = [{"h0": numbers(100 * number + caller, rows=1)} for caller in range(9)]
        assert all(not result.any() for result in callers.run(feeds))


def test_one_bad_call_costs_the_others_nothing(together: Any, models: Any) -> None:
    callers = together(picking_model(models.serialized), callers=5)
    for number in range(ROUNDS):
        good = [{"h0": np.array([[(number + caller) % 8]])} for caller in range(4)]
        callers.send([*good[:2], {"h0": np.array([[99]])}, *good[2:]])
        for caller, feed in zip((0, 1, 3, 4), good, strict=True):
            assert callers.clients[caller].result()[0] == feed["h0"]
        with pytest.raises(ExecutionFailed, match="99"):
            callers.clients[2].result()
    assert callers.clients[0].usage().calls == 4 * ROUNDS


def test_what_does_not_fit_the_slice_together_is_executed_alone(together: Any, models: Any) -> None:
    callers = together(growing_model(models.serialized), callers=5, memory_mib=30)
    for number in range(2):
        feeds = [{"x": np.array([[float(10 * number + caller)]], np.float32)} for caller in range(5)]
        for result, feed in zip(callers.run(feeds), feeds, strict=True):
            assert result.shape == (1, 4 * 2**20)
            assert (result == feed["x"]).all()


@pytest.mark.parametrize("rows", ["N", 1])
def test_only_models_with_free_rows_are_batched(together: Any, models: Any, rows: object) -> None:
    ends = [info("x", TensorProto.FLOAT, [rows, 4])], [info("y", TensorProto.FLOAT, ["M" if rows == "N" else rows, 4])]
    names = ["x", *(f"h{i}" for i in range(1, 1500)), "y"]
    nodes = [helper.make_node("Identity", [before], [after]) for before, after in itertools.pairwise(names)]
    callers = together(models.serialized(helper.make_graph(nodes, "fixed", *ends)))
    for number in range(4):
        feeds = [{"x": numbers(100 * number + caller)} for caller in range(9)]
        for result, feed in zip(callers.run(feeds), feeds, strict=True):
            assert np.array_equal(result, feed["x"])
    assert callers.clients[0].usage().batched_calls == 0
