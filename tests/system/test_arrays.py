"""Arrays that live on a slice of a real pool: round trips, memory, models fed from the device, lazy outputs, forks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpupool
from gpupool.arrays import RemoteArray
from gpupool.arrays.lazy import LazyOutput
from gpupool_wire.units import MIB

pytestmark = pytest.mark.system

X = np.arange(6, dtype=np.float32)
PAGE = Path(__file__).parents[2] / "ocr_app/gpupool_ocr/sample_pages"
READ = """
import json, sys
from rapidocr import RapidOCR
result = RapidOCR()(sys.argv[1])
print(json.dumps([list(result.txts), [float(score) for score in result.scores]]))
"""


@pytest.fixture
def held(system_pool: Any) -> Iterator[Any]:
    with system_pool.connect() as pool, pool.slice(50, "256MiB", wait=10) as held:
        yield held


def test_a_hundred_chained_operations_read_once_are_one_round_trip(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpupool.arrays.sender.SEND_S", 60.0)  # a stalled machine may take a millisecond for the chain
    x = held.xp.asarray(X)
    assert float(x[0]) == 0
    before = held.traffic.questions
    for _ in range(100):
        x = x * 1 + 1
    assert np.array_equal(np.asarray(x), X + 100)
    assert held.traffic.questions - before == 1


def test_a_recorded_step_travels_as_one_operation(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpupool.arrays.sender.SEND_S", 60.0)

    @held.function
    def step(x: Any) -> Any:
        for _ in range(100):
            x = x * 1 + 1
        return x

    x = step(held.xp.asarray(X))
    np.asarray(x)
    before = held.traffic.sent_bytes
    for _ in range(10):
        x = step(x)
    assert np.array_equal(np.asarray(x), X + 1100)
    assert held.traffic.sent_bytes - before < 1000


def test_arrays_count_against_the_slice_and_are_refused_with_the_numbers(held: Any) -> None:
    xp = held.xp
    x = xp.zeros((64, MIB // 8))
    xp.stream.flush()
    assert held.usage().memory_used_bytes >= 64 * MIB
    with pytest.raises(gpupool.OutOfSliceMemory, match=r"arrays of zeros asked for 512\.0 MiB.*test_arrays\.py"):
        float(xp.zeros((512, MIB // 8))[0, 0])
    del x
    xp.stream.flush()
    assert held.usage().memory_used_bytes < MIB


def test_a_session_takes_and_gives_arrays_without_fetching_them(held: Any, doubling: bytes) -> None:
    session = held.inference_session(doubling)
    x = held.xp.asarray(np.arange(100_000, dtype=np.float32))
    (y,) = session.run_remote(None, {"x": x + 1})
    assert isinstance(y, RemoteArray)
    before = held.traffic.received_bytes + held.traffic.sent_bytes
    (z,) = session.run_remote(None, {"x": y})
    assert float(held.xp.max(z)) == 400_000
    assert held.traffic.received_bytes + held.traffic.sent_bytes - before < 2_000
    assert np.array_equal(session.run(None, {"x": y})[0], np.asarray(z))


def test_an_io_binding_leaves_an_output_on_the_slice(held: Any, doubling: bytes) -> None:
    session = held.inference_session(doubling)
    binding = session.io_binding()
    binding.bind_cpu_input("x", held.xp.asarray(X))
    binding.bind_output("y", "slice")
    session.run_with_iobinding(binding)
    (y,) = binding.get_outputs()
    assert isinstance(y, RemoteArray)
    assert np.array_equal(np.asarray(y + 1), 2 * X + 1)
    assert np.array_equal(binding.copy_outputs_to_cpu()[0], 2 * X)


def test_a_lazy_output_stays_until_it_is_looked_at(held: Any, doubling: bytes) -> None:
    session = held.inference_session(doubling, lazy=["y"])
    x = np.arange(1_000_000, dtype=np.float32)
    (y,) = session.run(None, {"x": x})
    before = held.traffic.received_bytes
    assert isinstance(y, LazyOutput)
    assert (y.shape, y.dtype, len(y)) == ((1_000_000,), np.float32, 1_000_000)
    assert y.argmax() == 999_999
    assert type(y.max(axis=0, keepdims=True)) is np.ndarray
    assert y[5] == 10
    assert isinstance(y > 3, np.ndarray)
    assert isinstance(y * 2, LazyOutput)
    assert held.traffic.received_bytes - before < 1_100_000  # the comparison alone came home
    assert not y.is_here
    assert np.array_equal(y, 2 * x)
    assert np.percentile(np.asarray(y), 50) == y.mean()
    assert y.is_here
    with pytest.raises(gpupool.UsageError, match="no output 'probs'; it has 'y'"):
        held.inference_session(doubling, lazy=["probs"])


def test_an_array_is_gone_with_its_slice(system_pool: Any) -> None:
    with system_pool.connect() as pool:
        with pool.slice(10, "64MiB", wait=10) as held:
            x = held.xp.ones(3)
            assert float(x[0]) == 1
        with pytest.raises(gpupool.LeaseLost, match="released by this program"):
            float(x[0])
        with pytest.raises(gpupool.LeaseLost):
            held.xp.ones(3).item()


def test_a_forked_child_has_arrays_of_its_own(held: Any) -> None:
    x = held.xp.ones(3)
    assert float(x[0]) == 1
    child = os.fork()
    if child == 0:
        status = 1
        try:
            own = float(held.xp.sum(held.xp.ones(4)))
            try:
                float(x[0])
            except gpupool.UsageError:
                status = 0 if own == 4 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert float(x[1]) == 1


INTERRUPTED = """
import os, signal, threading
import numpy as np, gpupool

def press(after, done):
    # Pressed again, as people do: Python itself drops an interrupt that comes while it runs a finaliser.
    while not done.wait(after):
        os.kill(os.getpid(), signal.SIGINT)
        after = 5

with gpupool.connect() as pool, pool.slice(50, "1GiB", wait=10) as held:
    xp = held.xp
    large = np.arange(24_000_000.0)
    x, small = xp.asarray(large), xp.asarray(np.arange(8.0))
    caught = {"up": 0, "down": 0, "chain": 0}
    for way in list(caught) * 6:
        small += 1
        # So that it comes at another moment of the transfer each time.
        done = threading.Event()
        pressing = threading.Thread(target=press, args=(0.01 * (1 + sum(caught.values())), done))
        pressing.start()
        try:
            while True:
                if way == "up":
                    xp.asarray(large)
                elif way == "down":
                    np.asarray(x)
                else:
                    y = small
                    for _ in range(100):
                        y = xp.tanh(y) * 2 + 1
                    np.asarray(y)
        except KeyboardInterrupt:
            done.set()
            caught[way] += 1
        pressing.join()
    assert np.array_equal(np.asarray(small), np.arange(8.0) + 18), np.asarray(small)
    assert np.array_equal(np.asarray(x), large)
    assert held.usage().memory_used_bytes < 3 * large.nbytes
    print(caught)
"""


def test_ctrl_c_in_the_middle_of_transfers_leaves_every_array_as_it_was(system_pool: Any) -> None:
    environ = {**system_pool.environ, "GPUPOOL_TOKEN": system_pool.token}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=100, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'up': 6, 'down': 6, 'chain': 6}\n"


def test_rapidocr_reads_the_same_with_a_lazy_recognition_output(system_pool: Any, tmp_path: Path) -> None:
    page = str(sorted(PAGE.glob("*.png"))[0])
    local = subprocess.run([sys.executable, "-c", READ, page], capture_output=True, text=True, timeout=120, check=True)
    moved = {}
    for lazy in ((), ("--lazy", "*_rec_*:*")):
        report = tmp_path / f"traffic-{len(lazy)}.jsonl"
        environ = {**system_pool.environ, "GPUPOOL_TOKEN": system_pool.token, "GPUPOOL_TRAFFIC": str(report)}
        command = [sys.executable, "-m", "gpupool", "run", "--compute", "50", "--memory", "1GiB", *lazy, "--"]
        command += [sys.executable, "-c", READ, page]
        remote = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environ)
        assert remote.returncode == 0, remote.stderr
        (wanted, wanted_scores), (got, scores) = json.loads(local.stdout), json.loads(remote.stdout)
        assert len(wanted) > 5
        assert got == wanted
        assert scores == pytest.approx(wanted_scores, abs=1e-6)
        moved[bool(lazy)] = sum(json.loads(line)["received_bytes"] for line in report.read_text().splitlines())
    assert moved[True] < moved[False] / 10
