"""A wake-up for a thread that polls: an eventfd that any thread, or a signal handler, may set."""

from __future__ import annotations

import contextlib
import os
import select
from types import TracebackType


class Wakeup:
    """Readable from the moment it is set until it is cleared."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor, for pollers."""
        return self._fd

    def set(self) -> None:
        """Wake the poller; does nothing after close."""
        with contextlib.suppress(OSError, ValueError):
            os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Take note of every `set` so far."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set, at most so long; return whether it is."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1_000))

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Wakeup:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
