"""A pool for programs that do not care where it is: yours, else the one on this machine, else one that is started for them.

embedded_pool ── GPUPOOL_URL? ── a pool runs in GPUPOOL_HOME? ── gpupool up --stop-with-stdin (a process of its own)
    its stdin ends when the program does, also by kill -9 ──▶ it stops, or goes on while others use it
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

from gpupool.daemons import DaemonFailed
from gpupool.locks import FileLock, is_held
from gpupool.pool import Pool, connect
from gpupool.settings import RunningPool, running_pool
from gpupool_wire.home import state_home

#: A pool starts in a few seconds; a loaded machine may take long.
START_S: Final = 120.0
LOOK_S: Final = 0.02
STOP_S: Final = 30.0
#: What a started pool says on its standard output when its standard input has ended.
STOPPING: Final = "stopping"
LINGERING: Final = "lingering"

#: Pools that went on for others; kept, because a process object that is collected alive warns.
_lingering: list[subprocess.Popen[str]] = []


@contextlib.contextmanager
def embedded_pool(environ: Mapping[str, str] = os.environ, *, web: bool = False) -> Iterator[Pool]:
    """Yield a pool: at GPUPOOL_URL where that is set, else the one on this machine, which is started where none runs.

    A pool started so keeps its state in GPUPOOL_HOME, listens on free ports, and stops at the end of the last program that uses
    it so, however that ends; with `web`, its web page is served too, where it is installed.
    Raises DaemonFailed where it does not start, and what `connect` raises.
    """
    if environ.get("GPUPOOL_URL"):
        with connect() as pool:
            yield pool
        return
    home = state_home(environ)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Tells a pool that was started for somebody else that it is used. Waits here for one that is about to stop.
    use = FileLock(home / "users.lock")
    use.share()
    try:
        with _running(home, use, web) as running, connect(running.url) as pool:
            yield pool
    finally:
        use.release()


@contextlib.contextmanager
def _running(home: Path, use: FileLock, web: bool) -> Iterator[RunningPool]:
    running = running_pool(home)
    if running is not None:
        yield running
        return
    (home / "logs").mkdir(mode=0o700, exist_ok=True)
    with (home / "logs" / "up.log").open("a+", encoding="utf-8", errors="replace") as log:
        process = _start(home, log, web)
        try:
            yield _wait_running(home, process, log)
        finally:
            _stop(process, use)


def _start(home: Path, log: IO[str], web: bool) -> subprocess.Popen[str]:
    log.seek(0, os.SEEK_END)
    page = "--web" if web else "--no-web"
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "gpupool", "up", "--any-port", "--stop-with-stdin", page, "--home", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        # Ctrl-C goes to the program that uses the pool, which then stops it.
        start_new_session=True,
    )


def _wait_running(home: Path, process: subprocess.Popen[str], log: IO[str]) -> RunningPool:
    said_from = log.tell()
    deadline = time.monotonic() + START_S
    while (running := running_pool(home)) is None:
        # Where several programs start one at the same time, all but one of them end, and their programs use that one.
        if process.poll() not in (None, 0) and not _is_starting(home):
            log.seek(said_from)
            words = log.read().strip().splitlines()
            raise DaemonFailed(
                f"no pool could be started on this machine: {words[-1].removeprefix('gpupool: ') if words else 'it said nothing'}"
            )
        if time.monotonic() > deadline:
            raise DaemonFailed(f"no pool answered within {START_S:.0f} s: see the logs in {home / 'logs'}")
        time.sleep(LOOK_S)
    return running


def _is_starting(home: Path) -> bool:
    """Whether another process is bringing up a pool in `home`."""
    return is_held(home / "up.lock")


def _stop(process: subprocess.Popen[str], use: FileLock) -> None:
    """End its standard input and our use of it; wait until it has stopped, unless it goes on for others."""
    assert process.stdin is not None  # noqa: S101 - it is a pipe, see _start
    assert process.stdout is not None  # noqa: S101
    with contextlib.suppress(OSError):
        process.stdin.close()
    use.release()
    said = process.stdout.readline().strip()
    process.stdout.close()
    if said == LINGERING:
        _lingering.append(process)
        return
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
