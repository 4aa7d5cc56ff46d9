from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from gpupool.grant import decode_invitation
from gpupool.locator import BrokerLocator, FileLocator
from gpupool.pool import Pool
from gpupool.slices import Slice
from gpupool_wire import messages as m
from gpupool_wire.errors import Conflict, LeaseLost, UsageError, WorkerLost
from gpupool_wire.units import Policy


def opened(fakes: Any) -> list[m.OpenLink]:
    return [message for message in fakes.door.heard if isinstance(message, m.OpenLink)]


def test_a_slice_is_linked_by_its_holder_at_once_and_released_at_the_end(pool: Pool, fakes: Any, eventually: Any) -> None:
    with pool.slice(25, "64MiB", policy="burst", label="mine") as held:
        assert repr(held) == ("<Slice slice-1: 25 % and 64 MiB of cpu n1/cpu0 (A Processor), burst, holder, linked>")
        assert held.providers == ["CPUExecutionProvider"]
    assert [message.holder for message in opened(fakes)] == [True]
    assert fakes.broker.ended == {"slice-1"}
    eventually(lambda: len(fakes.worker.left) == 1)
    assert repr(held).endswith("ended>")


def test_release_twice_is_release(pool: Pool, fakes: Any) -> None:
    held = pool.slice(25, 64)
    held.release()
    held.release()
    assert sum(isinstance(message, m.ReleaseSlice) for message in fakes.broker.heard) == 1


def test_release_without_a_broker_leaves_the_worker_which_is_enough(fakes: Any, eventually: Any) -> None:
    control = fakes.control(timeout_s=0.3)
    held = Pool(control).slice(25, 64)
    fakes.broker.kill()
    held.release()
    eventually(lambda: len(fakes.worker.left) == 1)
    control.close()


def test_usage_is_what_the_worker_says(pool: Pool) -> None:
    with pool.slice(25, 64) as held:
        usage = held.usage()
    assert (usage.compute_pct, usage.policy, usage.memory_used_bytes, usage.calls) == (25, Policy.FIXED, 7, 3)


def test_resize_changes_what_is_asked_for(pool: Pool) -> None:
    with pool.slice(25, 64) as held:
        held.resize(compute="50%")
        assert (held.compute_pct, held.memory_mib, held.grant.epoch) == (50, 64, 2)
        held.resize(memory="1GiB")
        assert held.memory_mib == 1024
        with pytest.raises(UsageError, match="a new compute, a new memory"):
            held.resize()
        with pytest.raises(UsageError, match="1 to 100"):
            held.resize(compute=101)


def test_an_idle_holder_moves_by_itself_when_its_worker_dies(pool: Pool, fakes: Any, eventually: Any) -> None:
    with pool.slice(25, 64):
        old = fakes.worker
        fakes.new_worker()
        old.kill()
        eventually(lambda: len(opened(fakes)) == 2)
        assert opened(fakes)[1].holder


def test_a_slice_without_a_place_is_waited_for(pool: Pool, fakes: Any, numbers: Any) -> None:
    with pool.slice(25, 64) as held:
        model = held.open_model(b"weights")
        old_door, old_worker = fakes.door, fakes.worker
        fakes.broker.locate_errors = [Conflict("stranded: no device has room") for _ in range(3)]
        fakes.new_node()
        old_door.kill()
        old_worker.kill()
        assert np.array_equal(model.run({"x": numbers})[0], numbers * 2)
        assert fakes.broker.locate_errors == []


def test_a_slice_that_cannot_be_reached_again_says_so_after_its_time(fakes: Any) -> None:
    control = fakes.control(timeout_s=0.2)
    grant = fakes.grant()
    held = Slice(grant, BrokerLocator(control), control=None, holder=False, failover_s=0.3)
    fakes.door.kill()
    fakes.broker.kill()
    with pytest.raises(WorkerLost, match="slice-1 could not be reached again within 0 s"):
        held.link()
    control.close()


def test_many_callers_find_one_next_link(pool: Pool, fakes: Any, numbers: Any) -> None:
    with pool.slice(25, 64) as held:
        model = held.open_model(b"weights")
        old = fakes.worker
        fakes.new_worker()
        old.kill()
        failed: list[Exception] = []

        def call() -> None:
            try:
                model.run({"x": numbers})
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=call) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not failed
        assert len(opened(fakes)) == 2
        assert sum(isinstance(message, m.OpenModel) for message in fakes.worker.heard) == 2


def test_a_guest_joins_with_the_environment_and_needs_no_token(pool: Pool, fakes: Any, home: Path, numbers: Any) -> None:
    with pool.slice(25, 64) as held:
        invited = decode_invitation(held.environment()["GPUPOOL_SLICE"])
        guest = Slice(invited.grant, FileLocator(Path(invited.file)), control=None, holder=False)
        assert np.array_equal(guest.open_model(b"weights").run({"x": numbers})[0], numbers * 2)
        with pytest.raises(UsageError, match="a guest cannot resize"):
            guest.resize(50)
        guest.release()
        assert fakes.broker.ended == set()
    assert [message.holder for message in opened(fakes)] == [True, False]


def test_the_invitation_follows_the_slice_and_ends_with_it(pool: Pool, fakes: Any, home: Path, eventually: Any) -> None:
    held = pool.slice(25, 64)
    invited = decode_invitation(held.environment()["GPUPOOL_SLICE"])
    path = Path(invited.file)
    assert path.stat().st_mode & 0o777 == 0o600
    locator = FileLocator(path)
    old_door, old_worker = fakes.door, fakes.worker
    fakes.new_node()
    old_door.kill()
    old_worker.kill()
    eventually(lambda: locator.locate("slice-1").door == fakes.door.address)
    held.release()
    with pytest.raises(LeaseLost, match="the program that held it is gone"):
        locator.locate("slice-1")


#: Python 3.12 and newer warn of forks beside threads. Programs do it all the same, and it has to work.
forking = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@forking
def test_a_forked_child_uses_the_slice_as_a_guest(pool: Pool, fakes: Any, numbers: Any) -> None:
    with pool.slice(25, 64) as held:
        model = held.open_model(b"weights")
        model.run({"x": numbers})
        child = os.fork()
        if child == 0:
            try:
                right = not held.is_holder and np.array_equal(model.run({"x": numbers})[0], numbers * 2)
                held.release()
            except BaseException:
                os._exit(2)
            os._exit(0 if right else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert fakes.broker.ended == set()
        assert np.array_equal(model.run({"x": numbers})[0], numbers * 2)
    assert [message.holder for message in opened(fakes)] == [True, False]


@forking
def test_multiprocessing_by_fork_works_while_other_threads_call(pool: Pool, fakes: Any, numbers: Any) -> None:
    """Locks that a thread of the parent holds at the fork must not stop the child."""
    with pool.slice(25, 64) as held:
        model = held.open_model(b"weights")
        task = _Summing(model)
        stop = threading.Event()

        def call() -> None:
            while not stop.is_set():
                model.run({"x": numbers})

        caller = threading.Thread(target=call)
        caller.start()
        try:
            with multiprocessing.get_context("fork").Pool(2) as children:
                sums = children.map(task, range(6))
        finally:
            stop.set()
            caller.join()
    assert sums == [20.0] * 6


class _Summing:
    """A task that carries nothing to the child but a place in a table: models cannot be pickled, and need not be."""

    models: ClassVar[dict[int, Any]] = {}

    def __init__(self, model: Any) -> None:
        self.key = id(model)
        self.models[self.key] = model

    def __call__(self, _: int) -> float:
        return float(self.models[self.key].run({"x": np.arange(5, dtype=np.float32)})[0].sum())


PROGRAM = """
import sys
from gpupool.control import Control
from gpupool.pool import Pool
held = Pool(Control(sys.argv[1], sys.argv[2])).slice(25, 64)
print(held.slice_id, flush=True)
if sys.argv[3] == "wait":
    sys.stdin.read()
"""


def test_a_slice_is_released_at_the_end_of_the_program(fakes: Any) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, fakes.broker.address, "gpp_tenant_letmein", "end"], check=True, timeout=30)
    assert fakes.broker.ended == {"slice-1"}


def test_the_socket_of_a_killed_program_is_gone_at_once(fakes: Any, eventually: Any) -> None:
    command = [sys.executable, "-c", PROGRAM, fakes.broker.address, "gpp_tenant_letmein", "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        eventually(lambda: len(fakes.worker.peers) == 1)
        program.kill()
        start = time.monotonic()
        eventually(lambda: not fakes.worker.peers)
        assert time.monotonic() - start < 3


def test_traffic_is_counted_and_reported(pool: Pool, numbers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "traffic.jsonl"
    monkeypatch.setenv("GPUPOOL_TRAFFIC", str(report))
    big = np.zeros(100_000, np.float32)
    with pool.slice(25, 64) as held:
        held.open_model(b"weights").run({"x": big})
        traffic = held.traffic
        assert big.nbytes < traffic.sent_bytes < big.nbytes + 2_000
        assert big.nbytes < traffic.received_bytes < big.nbytes + 2_000
        assert traffic.questions == 5  # join, open, upload, open, run
    said = json.loads(report.read_text())
    assert said["slice_id"] == "slice-1"
    assert said["sent_bytes"] == traffic.sent_bytes
