"""The program under `gpupool run`, a child process: signals reach it, its end is noticed, and it does not outlive its launcher.

terminal ──Ctrl-C──▶ program (and launcher, which leaves it at that)
kill launcher ──▶ launcher ──same signal──▶ program
kill -9 launcher ──▶ kernel ──SIGKILL──▶ program
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

#: What is passed on to the program.
FORWARDED: Final = frozenset(
    {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT}
)
#: How a signal came about (siginfo's si_code): by the kernel, as a terminal's Ctrl-C does, which reaches the program by itself.
_SI_KERNEL: Final = 0x80
#: The end of the program comes as a signal; this is how often it is looked for besides.
_LOOK_S: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1


class Signals:
    """Holds back signals, so that they are taken one by one instead of interrupting. A context manager for the main thread.

    Threads started meanwhile hold them back too; a child started through `start` does not.
    """

    def __init__(self) -> None:
        self._held = FORWARDED | {signal.SIGCHLD}
        self._before: set[int | signal.Signals] = set()

    def __enter__(self) -> Signals:
        self._before = set(signal.pthread_sigmask(signal.SIG_BLOCK, self._held))
        return self

    def __exit__(self, *exc: object) -> None:
        while self.take(0) is not None:
            pass  # what came too late for the program must not end the launcher either: it has something to tidy up
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def take(self, timeout_s: float) -> signal.struct_siginfo | None:
        """Return the next signal, None where none comes in time."""
        return signal.sigtimedwait(self._held, timeout_s)

    def restore(self) -> None:
        """Let signals through again, in a child."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


def start(command: Sequence[str], program: str, environ: Mapping[str, str], signals: Signals) -> subprocess.Popen[bytes]:
    """Start `program` with the words of `command`; the kernel kills it if this process dies. Call it in the main thread.

    Raises OSError where it cannot be started.
    """
    prctl: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
    launcher = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:
            os._exit(128 + signal.SIGKILL)  # it died before the kernel was asked
        signals.restore()

    # A fork with threads around is safe here: the function above takes no lock, and every name in it is bound already.
    return subprocess.Popen(list(command), executable=program, env=dict(environ), preexec_fn=in_child)  # noqa: S603


def attend(child: subprocess.Popen[bytes], signals: Signals) -> int:
    """Pass signals on until the program ends; return its exit status, 128 + n where signal n ended it."""
    while child.poll() is None:
        taken = signals.take(_LOOK_S)
        if taken is None or taken.si_signo == signal.SIGCHLD or taken.si_code == _SI_KERNEL:
            continue
        child.send_signal(taken.si_signo)
    status = child.returncode
    return status if status >= 0 else 128 - status
