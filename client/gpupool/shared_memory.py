"""Memory that a stream's client shares with its worker: made here, passed with the greeting, mapped by both.

    memfd_create ──> mapped here ──descriptor, SCM_RIGHTS──> mapped by the worker        (gpupool_wire.arena: what lies in it)

It has no name that others could find, no file that could stay behind, and is sealed against shrinking, so that neither end can
make the other fault. It lives as long as either has it mapped. GPUPOOL_SHARED_MEMORY=off keeps tensors in the socket.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from gpupool_wire.arena import ARENA_BYTES, Arena

#: "off" keeps tensors in the socket: to measure what it gives.
VARIABLE: Final = "GPUPOOL_SHARED_MEMORY"
_descriptor = struct.Struct("@i")


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process shares memory with workers where it can."""
    return environ.get(VARIABLE, "on").lower() not in ("off", "0", "no")


class SharedMemory:
    """An arena of this process's making. Its descriptor is closed once it is passed on (the mapping keeps one of its own)."""

    def __init__(self, nbytes: int = ARENA_BYTES) -> None:
        """Raises OSError where the platform has no such memory, or this process may have no more of it."""
        if not hasattr(os, "memfd_create"):
            raise OSError(errno.ENOSYS, "this platform has no memfd_create")
        self._fd = os.memfd_create("gpupool-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._fd, nbytes)
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            memory = mmap.mmap(self._fd, nbytes)
        except BaseException:
            self.close()
            raise
        # A forked child has no channel of its parent's, and would keep the pages for as long as it lives.
        memory.madvise(mmap.MADV_DONTFORK)
        self.arena = Arena(memory)

    def __repr__(self) -> str:
        return f"<SharedMemory, {self.arena!r}>"

    @property
    def ancillary(self) -> Sequence[tuple[int, int, bytes]]:
        """What sendmsg takes to pass the descriptor on."""
        return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _descriptor.pack(self._fd))]

    def close(self) -> None:
        """Close the descriptor; what is mapped stays mapped. Idempotent."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
