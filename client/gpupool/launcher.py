"""`gpupool run`: holds a slice for as long as a program runs, and puts the program's ONNX Runtime sessions on it.

pool ──slice──▶ launcher (holder) ──GPUPOOL_SLICE──▶ program (guest) ──▶ its children (guests)
                    └── released when the program ends; freed by the agent where the launcher is killed
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

import msgspec

from gpupool.child import Signals, attend, start
from gpupool.hooking import check_command, environment, unused
from gpupool.lazy_names import SEPARATOR, VARIABLE
from gpupool_wire.errors import UsageError

#: While a slice is asked for, signals are looked for this often.
_LOOK_S: Final = 0.02


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The slice to hold; None takes what GPUPOOL_COMPUTE and GPUPOOL_MEMORY say, or the defaults."""

    compute: str | None = None
    memory: str | None = None
    policy: str = "fixed"
    #: Only a device of this kind ("cuda", "cpu").
    kind: str | None = None
    wait_s: float = 0.0
    #: Outputs that stay on the device, as "MODEL:OUTPUT".
    lazy: tuple[str, ...] = ()
    #: Where the trace of what it costs goes; empty where nobody wants to know.
    profile: str = ""


class HeldSlice(Protocol):
    """What the launcher needs of a slice."""

    def environment(self) -> dict[str, str]:
        """Return the variables with which a child process joins it."""

    def release(self) -> None:
        """Give it back."""


class SlicePool(Protocol):
    """What the launcher needs of a pool."""

    def slice(
        self, compute: str | None, memory: str | None, *, policy: str, kind: str | None, wait: float, label: str
    ) -> HeldSlice:
        """Return a slice."""


class Interrupted(Exception):
    """A signal came before the program was started."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"signal {signum} came before the program was started")
        self.signum = signum


class _Asking(threading.Thread):
    """Asks for the slice while the main thread listens for signals."""

    def __init__(self, ask: Callable[[], HeldSlice]) -> None:
        super().__init__(name="gpupool-run-asking", daemon=True)
        self._ask = ask
        self._answered = threading.Event()
        self._held: HeldSlice | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._held = self._ask()
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._error = error
        finally:
            self._answered.set()

    def wait(self, signals: Signals) -> HeldSlice:
        """Return the slice; raise what asking for it raised, or Interrupted."""
        self.start()
        while not self._answered.is_set():
            taken = signals.take(_LOOK_S)
            if taken is not None and taken.si_signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                raise Interrupted(taken.si_signo)
        if self._held is None:
            raise self._error or AssertionError("asked, and neither answered nor failed")
        return self._held


def run_on(pool: SlicePool, wanted: Wanted, command: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Hold a slice of `pool` while `command` runs on it; return the exit status of the command.

    Must be called in the main thread. Raises UsageError for a command that cannot be run so, and what asking for a slice raises.
    """
    program = check_command(command, environ.get("PATH"))
    with Signals() as signals, tempfile.TemporaryDirectory(prefix="gpupool-run-") as marks:
        asking = _Asking(
            lambda: pool.slice(
                wanted.compute,
                wanted.memory,
                policy=wanted.policy,
                kind=wanted.kind,
                wait=wanted.wait_s,
                label=f"run {Path(program).name}",
            )
        )
        try:
            held = asking.wait(signals)
        except Interrupted as interrupted:
            return 128 + interrupted.signum
        try:
            invited = {**held.environment(), **_profiled(wanted, marks)}
            child = start(command, program, environment(_with_lazy(environ, wanted.lazy), invited, Path(marks)), signals)
            status = attend(child, signals)
        except OSError as error:
            raise UsageError(f"{program} cannot be run: {error.strerror}") from error
        finally:
            held.release()
        if wanted.profile:
            from gpupool.profiling.program import tell

            tell(Path(marks), Path(wanted.profile))
        if (reason := unused(Path(marks))) is not None:
            sys.stderr.write(f"gpupool run: {reason}\n")
        return status


def _with_lazy(environ: Mapping[str, str], wishes: Sequence[str]) -> dict[str, str]:
    """Return an environment in which these outputs are wished for, too."""
    asked = SEPARATOR.join(filter(None, [environ.get(VARIABLE, ""), *wishes]))
    return {**environ, VARIABLE: asked} if asked else dict(environ)


def _profiled(wanted: Wanted, folder: str) -> dict[str, str]:
    """Return what has processes leave in `folder` what they do, where somebody wants to know."""
    return {"GPUPOOL_PROFILE": folder} if wanted.profile else {}


def run(wanted: Wanted, command: Sequence[str]) -> int:
    """As `run_on`, on the pool of this environment: at GPUPOOL_URL, else the one on this machine, which is started if need be."""
    check_command(command)  # before a pool is started for it

    def stop(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        import gpupool

        with gpupool.embedded_pool() as pool:
            return run_on(pool, wanted, command)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
