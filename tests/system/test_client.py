"""The client against real broker, agent and worker processes, some of which die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import gpupool
from gpupool.pool import Pool
from gpupool_wire.errors import Conflict, OutOfSliceMemory

pytestmark = pytest.mark.system

X = np.arange(6, dtype=np.float32)
#: The contract: a dead client's slice is free again in less than this.
FREED_S = 5.0


@pytest.fixture
def pool(system_pool: Any) -> Iterator[Any]:
    with system_pool.connect() as connected:
        yield connected


def test_a_slice_is_granted_used_and_given_back(system_pool: Any, pool: Pool, doubling: bytes) -> None:
    with pool.slice(30, "256MiB", label="a test") as held:
        model = held.open_model(doubling)
        assert np.array_equal(model.run({"x": X})[0], X * 2)
        timing = model.last_timing
        assert timing is not None
        assert timing.execute_ns > 0
        assert timing.queue_ns + timing.throttle_ns + timing.execute_ns + timing.transfer_ns == timing.wall_ns
        usage = held.usage()
        assert (usage.compute_pct, usage.calls, usage.sessions) == (30, 1, 1)
        assert usage.memory_limit_bytes == 256 * 1024 * 1024
        shown = next(one for one in system_pool.slices() if one["slice_id"] == held.slice_id)
        assert (shown["compute_pct"], shown["memory_mib"], shown["label"]) == (30, 256, "a test")
    assert held.slice_id not in {one["slice_id"] for one in system_pool.slices()}


def test_results_are_writable_and_exact(pool: Pool, doubling: bytes) -> None:
    import onnxruntime

    local = onnxruntime.InferenceSession(doubling, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(3).standard_normal(300_000).astype(np.float32)
    with pool.slice(50, "256MiB") as held:
        model = held.open_model(doubling)
        result, again = model.run({"x": x})[0], model.run({"x": x})[0]
        assert result.tobytes() == local.run(None, {"x": x})[0].tobytes()
        result[:] = 0
        assert again.any()


def test_a_drop_in_session_runs_on_the_slice(pool: Pool, doubling: bytes) -> None:
    with pool.slice(30, "256MiB") as held:
        session = held.inference_session(doubling)
        assert np.array_equal(session.run(["y"], {"x": X})[0], X * 2)
        assert held.usage().calls == 1


def test_resizing_reaches_broker_and_worker(system_pool: Any, pool: Pool, doubling: bytes, until: Any) -> None:
    with pool.slice(30, "256MiB") as held:
        held.open_model(doubling)
        held.resize(compute=40, memory="512MiB")
        until(lambda: (held.usage().compute_pct, held.usage().memory_limit_bytes) == (40, 512 * 1024 * 1024), 5)
        shown = next(one for one in system_pool.slices() if one["slice_id"] == held.slice_id)
        assert (shown["compute_pct"], shown["memory_mib"]) == (40, 512)


def test_shrinking_below_use_is_refused_or_makes_room(system_pool: Any, pool: Pool) -> None:
    with pool.slice(10, "512MiB") as slice_:
        heavy, light = slice_.open_model(weighty(200)), slice_.open_model(weighty(10))
        with pytest.raises(Conflict, match=r"uses 210\.0 MiB and cannot shrink to 100\.0 MiB"):
            slice_.resize(memory="100MiB")
        assert slice_.memory_mib == 512
        slice_.resize(compute=20, memory="220MiB", deadline=0.2)
        slice_.resize(memory="100MiB", deadline=0.2)
        assert (slice_.compute_pct, slice_.memory_mib) == (20, 100)
        shown = system_pool.rest.get(f"/slices/{slice_.slice_id}")
        assert (shown["compute_pct"], shown["memory_mib"]) == (20, 100)
        x = {"x": np.ones(1, np.float32)}
        assert light.run(x)[0].nbytes == 10 << 20
        with pytest.raises(OutOfSliceMemory):
            heavy.run(x)
        slice_.resize(memory="512MiB")
        assert heavy.run(x)[0].nbytes == 200 << 20


def test_a_tensor_larger_than_the_slice_is_refused_before_it_travels(system_pool: Any, pool: Pool, doubling: bytes) -> None:
    with pool.slice(10, "1GiB") as slice_:
        model = slice_.open_model(doubling)
        sent = slice_.traffic.sent_bytes
        with pytest.raises(
            OutOfSliceMemory, match=r"what is sent takes 3072\.0 MiB, but slice .* has 1 GiB: send less at a time, or resize"
        ):
            model.run({"x": np.broadcast_to(np.float32(0), 3 * 2**28)})
        assert slice_.traffic.sent_bytes - sent < 10_000
        assert np.array_equal(model.run({"x": X})[0], X + X)


def weighty(mib: int) -> bytes:
    """y = x + w with so many MiB of weights."""
    info = helper.make_tensor_value_info
    weights = numpy_helper.from_array(np.ones(mib * 1024 * 256, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "weighty",
        [info("x", TensorProto.FLOAT, [1])],
        [info("y", TensorProto.FLOAT, ["n"])],
        [weights],
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())


def test_a_slice_larger_than_any_device_is_refused_with_the_numbers(pool: Pool) -> None:
    with pytest.raises(gpupool.SliceRefused, match=r"8192 MiB.*4096 MiB"):
        pool.slice(10, "8GiB")


def test_a_slice_waits_for_room(pool: Pool) -> None:
    with pool.slice(90, "64MiB") as held:
        threading.Timer(0.5, held.release).start()
        with pool.slice(90, "64MiB", wait=20) as other:
            assert other.compute_pct == 90


def test_a_kind_nobody_offers_is_refused(pool: Pool) -> None:
    with pytest.raises(gpupool.SliceRefused, match="cuda"):
        pool.slice(10, 64, kind="cuda")


@pytest.mark.parametrize(("compute", "memory"), [(0, 64), (101, 64), (10, 0), (10, "0GiB"), (10, "1.5MiB")])
def test_sizes_that_cannot_be_are_refused(pool: Pool, compute: Any, memory: Any) -> None:
    with pytest.raises(gpupool.UsageError):
        pool.slice(compute, memory)


def test_a_model_that_is_none_is_rejected_with_onnx_runtimes_words(pool: Pool) -> None:
    with pool.slice(10, "256MiB") as held:
        with pytest.raises(gpupool.ModelRejected) as caught:
            held.open_model(b"not a model")
        assert caught.value.details["ort_class"]
        assert "protobuf" in caught.value.message.lower()


def test_a_wrong_token_is_refused(system_pool: Any) -> None:
    with pytest.raises(gpupool.NotAuthorized):
        gpupool.connect(system_pool.url, "gpp_admin_wrong")


def test_no_broker_is_said_in_seconds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        start = time.monotonic()
        with pytest.raises(gpupool.PoolUnreachable, match="gpupool up"):
            gpupool.connect(f"127.0.0.1:{taken.getsockname()[1]}", "token", timeout=1)
        assert time.monotonic() - start < 4


PROGRAM = """
import sys, numpy, gpupool
held = gpupool.connect().slice(35, "256MiB")
model = held.open_model(open(sys.argv[1], "rb").read())
model.run({"x": numpy.zeros(3, numpy.float32)})
print(held.slice_id, flush=True)
sys.stdin.read()
"""


def test_the_slice_of_a_killed_program_is_free_in_seconds(system_pool: Any, doubling: bytes, tmp_path: Path, until: Any) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(doubling)
    environ = system_pool.environ | {"GPUPOOL_TOKEN": system_pool.token}
    command = [sys.executable, "-c", PROGRAM, str(path)]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        slice_id = program.stdout.readline().decode().strip()
        assert slice_id in {one["slice_id"] for one in system_pool.slices()}
        program.kill()
        took_s = until(lambda: slice_id not in {one["slice_id"] for one in system_pool.slices()}, 20)
    assert took_s < FREED_S


def test_a_stopped_program_that_hangs_loses_its_slice_too(system_pool: Any, doubling: bytes, tmp_path: Path, until: Any) -> None:
    """Stopped as by Ctrl-Z: its sockets stay open, and only the heartbeats tell."""
    path = tmp_path / "model.onnx"
    path.write_bytes(doubling)
    environ = system_pool.environ | {"GPUPOOL_TOKEN": system_pool.token}
    command = [sys.executable, "-c", PROGRAM, str(path)]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        slice_id = program.stdout.readline().decode().strip()
        os.kill(program.pid, signal.SIGSTOP)
        try:
            took_s = until(lambda: slice_id not in {one["slice_id"] for one in system_pool.slices()}, 20)
        finally:
            program.kill()
    assert took_s < FREED_S + 1


def test_a_program_that_holds_the_gil_keeps_its_slice(system_pool: Any) -> None:
    """Heartbeats are libzmq's own: a client deep in a C call that keeps Python's lock is alive."""
    program = """
import ctypes, gpupool
held = gpupool.connect().slice(20, "64MiB")
ctypes.PyDLL(None).sleep(6)  # PyDLL does not release the lock
held.usage()
"""
    environ = system_pool.environ | {"GPUPOOL_TOKEN": system_pool.token}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_call_whose_worker_is_killed_is_answered_all_the_same(
    own_pool: Any, slow_model: bytes, killed: Any, until: Any
) -> None:
    x = np.random.default_rng(1).standard_normal((768, 768)).astype(np.float32)
    with own_pool.connect() as pool, pool.slice(60, "512MiB") as held:
        model = held.open_model(slow_model)
        expected = model.run({"x": x})[0]
        answers = []
        caller = threading.Thread(target=lambda: answers.append(model.run({"x": x})[0]))
        for _ in range(3):
            doomed = own_pool.workers()[0]
            caller = threading.Thread(target=lambda: answers.append(model.run({"x": x})[0]))
            caller.start()
            time.sleep(0.1)  # into the call; were it over already, the next one would find a dead worker, which is as good
            killed(doomed)
            caller.join(30)
        assert len(answers) == 3
        assert all(np.array_equal(answer, expected) for answer in answers)


def test_usage_is_of_the_slice_whichever_workers_served_it(own_pool: Any, doubling: bytes, killed: Any, until: Any) -> None:
    with own_pool.connect() as pool, pool.slice(60, "512MiB") as held:

        def at_the_broker() -> int:
            return int(next(one["calls"] for one in own_pool.slices() if one["slice_id"] == held.slice_id))

        model = held.open_model(doubling)
        for _ in range(5):
            model.run({"x": X})
        used = held.usage()
        assert used.calls == 5
        until(lambda: at_the_broker() == 5, 10)
        killed(own_pool.workers()[0])
        model.run({"x": X})
        assert held.usage().calls == 6
        assert held.usage().device_ns > used.device_ns
        until(lambda: at_the_broker() == 6, 10)


def test_runs_go_on_without_a_broker_and_a_restarted_one_is_found(
    own_pool: Any, doubling: bytes, killed: Any, until: Any
) -> None:
    with own_pool.connect() as pool, pool.slice(50, "256MiB") as held:
        model = held.open_model(doubling)
        killed(own_pool.broker)
        own_pool.broker.stop()
        for _ in range(50):
            assert np.array_equal(model.run({"x": X})[0], X * 2)
        own_pool.start_broker()
        held.resize(compute=40)
        with pool.slice(10, "64MiB") as other:
            assert other.slice_id != held.slice_id
        assert np.array_equal(model.run({"x": X})[0], X * 2)
    until(lambda: not own_pool.slices(), 10)


def test_a_restarted_agent_serves_the_same_slice_and_session(own_pool: Any, doubling: bytes, killed: Any) -> None:
    with own_pool.connect() as pool, pool.slice(50, "256MiB") as held:
        model = held.open_model(doubling)
        killed(own_pool.agents["one"])
        own_pool.agents["one"].stop()
        own_pool.start_agent("one")
        assert np.array_equal(model.run({"x": X})[0], X * 2)
        assert held.usage().calls >= 1
        assert held.slice_id in {one["slice_id"] for one in own_pool.slices()}


def test_a_slice_moves_to_another_node_when_its_agent_is_killed(own_pool: Any, doubling: bytes, killed: Any) -> None:
    own_pool.start_agent("two")
    with own_pool.connect() as pool, pool.slice(50, "256MiB") as held:
        model = held.open_model(doubling)
        first = held.node
        stop, calls, failed = threading.Event(), [], []

        def call() -> None:
            while not stop.is_set():
                try:
                    calls.append(np.array_equal(model.run({"x": X})[0], X * 2))
                except Exception as error:
                    failed.append(error)
                    return

        caller = threading.Thread(target=call)
        caller.start()
        while len(calls) < 20:
            time.sleep(0.01)
        killed(own_pool.agents[first])
        before = len(calls)
        start = time.monotonic()
        while len(calls) < before + 20 and not failed:
            time.sleep(0.01)
            assert time.monotonic() - start < 30
        stop.set()
        caller.join(30)
        assert not failed
        assert all(calls)
        assert held.node != first


def test_a_drained_node_hands_its_slices_to_another_while_they_work(own_pool: Any, doubling: bytes) -> None:
    with own_pool.connect() as pool, pool.slice(10, "64MiB") as slice_:
        model = slice_.open_model(doubling)
        own_pool.start_agent("two")
        over, failed = threading.Event(), []

        def work() -> None:
            try:
                while not over.is_set():
                    assert np.array_equal(model.run({"x": X})[0], X + X)
            except Exception as error:
                failed.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        done = subprocess.run(
            [sys.executable, "-m", "gpupool", "drain", "one"], env=own_pool.environ, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "one is draining, 0 slice(s) are left on it\n")
        model.run({"x": X})
        over.set()
        worker.join()
        assert failed == []
        assert slice_.node == "two"
        assert [row["state"] for row in own_pool.rest.get("/nodes")] == ["draining", "up"]


def test_what_an_admin_releases_is_lost_clearly(system_pool: Any, pool: Pool, doubling: bytes) -> None:
    held = pool.slice(20, "128MiB")
    model = held.open_model(doubling)
    system_pool.rest.delete(f"/slices/{held.slice_id}")

    def run_on() -> None:
        for _ in range(100):
            model.run({"x": X})

    with pytest.raises(gpupool.LeaseLost, match=f"slice {held.slice_id} has ended"):
        run_on()
    assert held.has_ended
    held.release()
