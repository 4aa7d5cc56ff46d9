"""Threads with a name that the operating system shows, too: `top -H`, `perf` and /proc tell executors from the rest."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

#: prctl(2).
_PR_SET_NAME = 15
_libc = ctypes.CDLL(None)


def start_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread; the kernel keeps the first 15 characters of its name."""

    def run() -> None:
        _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
        target()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
