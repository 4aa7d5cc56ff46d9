"""Worker processes: started, stopped, killed, reaped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gpupool_agent.channel import ChannelClosed, Start
from gpupool_agent.supervisor import GRACE_NS, Supervisor, WorkerProcess, worker_environment
from gpupool_wire.errors import WorkerLost
from gpupool_wire.units import Policy

Eventually = Callable[..., Any]
#: Workers for one behaviour each; the channel is the descriptor after --fd.
HEAD = "import socket, sys; s = socket.socket(fileno=int(sys.argv[-1])); s.recv(9999);"
GOOD = HEAD + "s.recv(9999)"
DEAF = HEAD + "import time; time.sleep(60)"
DEAD = "import os; os._exit(3)"


def start(slice_id: str = "s") -> Start:
    return Start(
        slice_id=slice_id,
        tenant="t",
        node="n",
        device="null0",
        kind="null",
        memory_mib=1,
        compute_pct=1,
        policy=Policy.FIXED,
        cache_dir="/nowhere",
        scratch_dir="-",
    )


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[[str], Supervisor]]:
    made: list[Supervisor] = []

    def supervise(program: str) -> Supervisor:
        made.append(Supervisor(tmp_path / "scratch", (sys.executable, "-c", program)))
        return made[-1]

    yield supervise
    for supervisor in made:
        assert len(supervisor) == 0, "a test left a worker"


def wait_for_end(supervisor: Supervisor, worker: WorkerProcess) -> None:
    """Do what the thread that reads the channel does: notice its end."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            worker.end.receive()
        except ChannelClosed:
            supervisor.closed(worker, 0)
            return
        time.sleep(0.005)
    pytest.fail("the channel stays open")


def test_a_worker_that_obeys_is_gone_with_its_scratch(supervise: Callable[[str], Supervisor], eventually: Eventually) -> None:
    supervisor = supervise(GOOD)
    worker = supervisor.start(start(), {}, 0)
    assert worker.scratch.is_dir()
    supervisor.stop(worker, None, 0)
    wait_for_end(supervisor, worker)
    (gone,) = eventually(lambda: supervisor.reap(0))
    assert (gone.worker, gone.status) == (worker, 0)
    assert not worker.scratch.exists()


def test_a_deaf_worker_is_killed_after_its_grace(supervise: Callable[[str], Supervisor], eventually: Eventually) -> None:
    supervisor = supervise(DEAF)
    worker = supervisor.start(start(), {}, 0)
    supervisor.stop(worker, None, 0)
    assert supervisor.reap(GRACE_NS - 1) == []
    supervisor.reap(GRACE_NS)
    wait_for_end(supervisor, worker)
    (gone,) = eventually(lambda: supervisor.reap(GRACE_NS))
    assert gone.status == -9


def test_a_worker_that_died_is_reaped(supervise: Callable[[str], Supervisor], eventually: Eventually) -> None:
    supervisor = supervise(DEAD)
    worker = supervisor.start(start(), {}, 0)
    eventually(lambda: worker.process.poll() is not None)
    assert supervisor.reap(0) == []  # nobody has seen the end of its channel
    wait_for_end(supervisor, worker)
    (gone,) = supervisor.reap(0)
    assert gone.status == 3


def test_a_hanging_worker_is_killed_at_once(supervise: Callable[[str], Supervisor], eventually: Eventually) -> None:
    supervisor = supervise(DEAF)
    worker = supervisor.start(start(), {}, 0)
    supervisor.kill(worker, 0)
    supervisor.reap(0)
    wait_for_end(supervisor, worker)
    (gone,) = eventually(lambda: supervisor.reap(0))
    assert gone.worker is worker


def test_a_program_that_cannot_be_started_is_a_lost_worker(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "scratch", ("/does/not/exist",))
    with pytest.raises(WorkerLost, match="slice s cannot be started"):
        supervisor.start(start(), {}, 0)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert len(supervisor) == 0


def test_what_a_killed_agent_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "scratch" / "slice-old"
    left.mkdir(parents=True)
    Supervisor(tmp_path / "scratch")
    assert not left.exists()


def test_a_worker_inherits_its_channel_and_nothing_else(tmp_path: Path, eventually: Eventually) -> None:
    program = "import os, sys; open(sys.argv[1], 'w').write(' '.join(sorted(os.listdir('/proc/self/fd'), key=int)))"
    supervisor = Supervisor(tmp_path / "scratch", (sys.executable, "-c", program, str(tmp_path / "fds")))
    worker = supervisor.start(start(), {}, 0)
    wait_for_end(supervisor, worker)
    eventually(lambda: supervisor.reap(0))
    # Standard streams, the channel, the file it writes, the folder it lists.
    assert len((tmp_path / "fds").read_text().split()) == 6


def test_the_environment_is_an_allow_list(tmp_path: Path) -> None:
    ours = {"PATH": "/bin", "CUDA_PATH": "/cuda", "GPUPOOL_TOKEN": "secret", "HOME": "/root", "DB_PASSWORD": "secret"}
    environment = worker_environment(ours, {"CUDA_VISIBLE_DEVICES": "GPU-1"}, tmp_path)
    assert environment["PATH"] == "/bin"
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert environment["HOME"] == environment["TMPDIR"] == str(tmp_path)
    assert "secret" not in environment.values()
    assert int(environment["MALLOC_TRIM_THRESHOLD_"]) > 64 * 1024 * 1024


def test_no_zombie_is_left(supervise: Callable[[str], Supervisor], eventually: Eventually) -> None:
    supervisor = supervise(GOOD)
    workers = [supervisor.start(start(f"s{number}"), {}, 0) for number in range(5)]
    for worker in workers:
        supervisor.stop(worker, None, 0)
        wait_for_end(supervisor, worker)
    eventually(lambda: supervisor.reap(0) is not None and not len(supervisor))
    assert not {worker.pid for worker in workers} & {child.pid for child in psutil.Process().children()}


def test_a_worker_whose_channel_nobody_reads_is_reaped_late(
    supervise: Callable[[str], Supervisor], eventually: Eventually
) -> None:
    supervisor = supervise(GOOD)
    worker = supervisor.start(start(), {}, 0)
    supervisor.stop(worker, None, 0)
    eventually(lambda: worker.process.poll() is not None)
    assert supervisor.reap(2 * GRACE_NS - 1) == []
    assert len(supervisor.reap(2 * GRACE_NS)) == 1
