"""A long-running command of gpupool as a child process: started, waited for, stopped.

start ──▶ python -m gpupool COMMAND --ready-file F ──▶ F appears: it serves ── SIGTERM ──▶ ends
              └── ends before: its last words are the error
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gpupool_wire.errors import GpupoolError

#: A log longer than this is put aside when its command starts.
MAX_LOG_BYTES: Final = 16 * 1024 * 1024
#: How long a command may take to end in order before it is killed.
STOP_S: Final = 10.0
LOOK_S: Final = 0.02
_PR_SET_PDEATHSIG: Final = 1


class DaemonFailed(GpupoolError):
    """A part of the pool did not start, or ended."""

    code = "daemon_failed"


class Daemon:
    """One child process. Start it in the main thread: the kernel ends it when the thread that started it ends."""

    def __init__(self, name: str, options: Sequence[str], *, folder: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / "logs" / f"{name}.log"
        self._ready_file = folder / "run" / f"{name}.json"
        self._ready_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ready_file.unlink(missing_ok=True)
        self._log_starts_at = 0
        self._process = self._start([*options, "--ready-file", str(self._ready_file)], environ)

    def _start(self, options: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._log_starts_at = log.tell()
            return subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-m", "gpupool", self.name, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environ),
                # Ctrl-C in a terminal goes to us alone: we end the parts in order.
                start_new_session=True,
                preexec_fn=end_with_parent(),
            )

    def __repr__(self) -> str:
        state = "running" if self.is_running else f"ended with {self._process.returncode}"
        return f"<Daemon {self.name}, pid {self.pid}, {state}>"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_ready(self, timeout_s: float, is_cancelled: Callable[[], bool]) -> dict[str, str]:
        """Return what it says once it serves. Raises DaemonFailed with its last words, or after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self._ready_file.exists():
                return msgspec.json.decode(self._ready_file.read_bytes(), type=dict[str, str])
            if not self.is_running:
                raise self.failure()
            if is_cancelled():
                raise DaemonFailed(f"the {self.name} was told to stop before it served")
            if time.monotonic() > deadline:
                raise DaemonFailed(f"the {self.name} did not serve within {timeout_s:.0f} s: see {self.log}")
            time.sleep(LOOK_S)

    def failure(self) -> DaemonFailed:
        """Return the error that it has ended, with its last words."""
        with self.log.open("rb") as log:
            log.seek(self._log_starts_at)
            said = log.read().decode(errors="replace").strip().splitlines()
        words = said[-1].removeprefix("gpupool: ") if said else "it said nothing"
        return DaemonFailed(f"the {self.name} ended with status {self._process.wait()}: {words} (log: {self.log})")

    def terminate(self) -> None:
        """Tell it to end in order."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Have it end in order, or kill it. Idempotent."""
        self.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._ready_file.unlink(missing_ok=True)


def end_with_parent() -> Callable[[], None]:
    """Return what a child runs before it becomes its program: the kernel will send it SIGTERM when its parent's thread dies."""
    prctl: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # it died before the kernel was asked

    return in_child
