"""Advisory locks on files (flock), by which processes of one home know of each other. The kernel drops a dead process's locks."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

LOOK_S: Final = 0.02


class FileLock:
    """One lock on one file, held by this object or not. Not passed on to programs that are started meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __repr__(self) -> str:
        return f"<FileLock {self.path}, {'free' if self._descriptor is None else 'held'}>"

    def share(self) -> None:
        """Hold it together with others that share it; waits for one that has it alone."""
        self._take(fcntl.LOCK_SH)

    def take(self) -> bool:
        """Hold it alone, if nobody else holds it; return whether it does."""
        return self._take(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def take_within(self, timeout_s: float) -> bool:
        """Hold it alone as soon as nobody else does; return False if that takes longer than `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self.take():
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_S)
        return True

    def release(self) -> None:
        """Give it back. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, how: int) -> bool:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self.release()
        self._descriptor = descriptor
        return True


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock on `path` alone. Looking takes a shared lock for a moment."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
