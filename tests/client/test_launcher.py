"""The launcher with a pool that only takes notes: programs, signals and ends are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpupool.launcher import Wanted, run_on
from gpupool_wire.errors import SliceRefused, UsageError

DEADLINE_S = 20.0


class NotedSlice:
    def __init__(self, log: list[str]) -> None:
        self._log = log

    def environment(self) -> dict[str, str]:
        return {"GPUPOOL_SLICE": "the invitation"}

    def release(self) -> None:
        self._log.append("released")


class NotedPool:
    def __init__(self, refusal: Exception | None = None) -> None:
        self.log: list[str] = []
        self.asked: dict[str, Any] = {}
        self._refusal = refusal

    def slice(self, compute: str | None, memory: str | None, **how: Any) -> NotedSlice:
        self.asked = {"compute": compute, "memory": memory, **how}
        if self._refusal:
            raise self._refusal
        return NotedSlice(self.log)


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_the_program_runs_with_the_slice_and_its_status_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    pool = NotedPool()
    wanted = Wanted(compute="10", memory="1GiB", policy="burst", kind="cpu", wait_s=3)
    status = run_on(pool, wanted, python("import os, sys; print(os.environ['GPUPOOL_SLICE']); sys.exit(7)"))
    assert status == 7
    assert pool.asked == {
        "compute": "10",
        "memory": "1GiB",
        "policy": "burst",
        "kind": "cpu",
        "wait": 3.0,
        "label": f"run {Path(sys.executable).name}",
    }
    assert pool.log == ["released"]
    printed = capfd.readouterr()
    assert printed.out == "the invitation\n"
    assert "no ONNX Runtime session was opened through gpupool" in printed.err


def test_a_program_that_is_no_python_says_so_at_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_on(NotedPool(), Wanted(), ["true"]) == 0
    assert "no Python process of the program loaded its hook" in capfd.readouterr().err


def test_nothing_is_said_where_a_session_was_opened(capfd: pytest.CaptureFixture[str]) -> None:
    text = "import os; open(os.environ['GPUPOOL_RUN_MARKS'] + '/opened', 'w').close()"
    assert run_on(NotedPool(), Wanted(), python(text)) == 0
    assert capfd.readouterr().err == ""


def test_a_program_killed_by_a_signal_gives_128_and_its_number() -> None:
    pool = NotedPool()
    assert run_on(pool, Wanted(), python("import os; os.kill(os.getpid(), 9)")) == 128 + 9
    assert pool.log == ["released"]


def test_a_refused_slice_starts_no_program() -> None:
    with pytest.raises(SliceRefused, match="101 % asked"):
        run_on(NotedPool(SliceRefused("101 % asked")), Wanted(), ["true"])


def test_a_program_that_cannot_be_run_asks_for_no_slice(tmp_path: Path) -> None:
    pool = NotedPool()
    with pytest.raises(UsageError, match="there is no program"):
        run_on(pool, Wanted(), [str(tmp_path / "missing")])
    assert pool.asked == {}


def test_a_program_that_the_kernel_refuses_releases_the_slice(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x00neither script nor binary")
    broken.chmod(0o755)
    pool = NotedPool()
    with pytest.raises(UsageError, match="broken cannot be run: Exec format error"):
        run_on(pool, Wanted(), [str(broken)])
    assert pool.log == ["released"]


def test_signals_are_let_through_again_afterwards() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    run_on(NotedPool(), Wanted(), ["true"])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


# ── the launcher as a process of its own ──────

LAUNCHER = """
import sys, time
from gpupool.launcher import Wanted, run_on

class Held:
    def environment(self):
        return {}
    def release(self):
        print("released", flush=True)

class Pool:
    def slice(self, compute, memory, **how):
        print("asked", flush=True)
        time.sleep(float(sys.argv[1]))
        return Held()

sys.exit(run_on(Pool(), Wanted(), sys.argv[2:]))
"""
#: Says its pid, then what it was told by, until SIGTERM.
PROGRAM = """
import os, signal, sys
def told(number, frame):
    print("told", number, flush=True)
    if number == signal.SIGTERM:
        sys.exit(3)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, told)
print("program", os.getpid(), flush=True)
while True:
    signal.pause()
"""
Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts a launcher; its program's output is its own. Nothing it starts outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(command: list[str], asking_s: float = 0.0) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(asking_s), *command], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(DEADLINE_S)
        assert process.stdout is not None
        process.stdout.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def program_of(process: subprocess.Popen[str]) -> int:
    assert line(process) == "asked"
    word, pid = line(process).split()
    assert word == "program"
    return int(pid)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def test_signals_to_the_launcher_reach_the_program(launch: Launch) -> None:
    launcher = launch(python(PROGRAM))
    program_of(launcher)
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        launcher.send_signal(number)
        assert line(launcher) == f"told {int(number)}"
    assert line(launcher) == "released"
    assert launcher.wait(DEADLINE_S) == 3


def test_a_killed_launcher_takes_the_program_with_it(launch: Launch) -> None:
    launcher = launch(python(PROGRAM))
    program = program_of(launcher)
    launcher.kill()
    wait_until(lambda: is_gone(program))


def test_a_signal_while_the_slice_is_asked_for_ends_the_launcher(launch: Launch) -> None:
    launcher = launch(["true"], asking_s=60.0)
    assert line(launcher) == "asked"
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(DEADLINE_S) == 128 + signal.SIGINT


def test_the_program_starts_with_no_signal_held_back(launch: Launch) -> None:
    text = "import signal; print('held', sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), flush=True)"
    launcher = launch(python(text))
    assert [line(launcher) for _ in range(3)] == ["asked", "held []", "released"]


def test_ctrl_c_in_a_terminal_reaches_the_program_once() -> None:
    """In a terminal both get the signal; the launcher must not add a second one."""
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", LAUNCHER, "0", *python(PROGRAM)])
    seen = b""

    def read_until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            seen += os.read(terminal, 4096)

    read_until(b"program")
    read_until(b"\n")
    os.write(terminal, b"\x03")
    read_until(b"told 2")
    os.kill(pid, signal.SIGTERM)
    read_until(b"released")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 3
    assert seen.count(b"told 2") == 1
