"""Memory that a client on this host offers with its greeting, mapped once it has joined.

    descriptor, SCM_RIGHTS ──whose memory, sealed, how large?──> mapped ──> Arena (gpupool_wire.arena), for one stream

Whoever offers it may be anybody, so nothing is taken on trust: memory that can shrink, huge pages that may run out, or a file on
a server that does not answer could each end or stop this process at a touch. Where it is refused, tensors travel in the socket.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct

from gpupool_wire.arena import ARENA_BYTES, Arena
from gpupool_wire.errors import LimitExceeded

#: What the arenas of one worker may be together. Their pages are in use as far as calls have filled them; a client counts the
#: tensors it sends, and replies are the worker's: beside the slice, as its sockets' buffers are.
MAX_SHARED_BYTES = 1024 * 1024 * 1024
_descriptor = struct.Struct("@i")


def descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors that came with a message: open now, and the caller's to close."""
    return [fd for _, _, data in ancillary for (fd,) in _descriptor.iter_unpack(data[: len(data) // 4 * 4])]


def mapped(fd: int, room_bytes: int) -> Arena:
    """Map what was offered, if it is no more than `room_bytes`. Raises OSError or LimitExceeded for what is not taken."""
    # Only memory of the kernel's own has seals; of a file this raises OSError.
    seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    if not seals & fcntl.F_SEAL_SHRINK:
        raise OSError("shared memory is not sealed against shrinking")
    if os.fstatvfs(fd).f_bsize != mmap.PAGESIZE:
        raise OSError("shared memory is not of ordinary pages")
    nbytes, limit = os.fstat(fd).st_size, min(ARENA_BYTES, room_bytes)
    if nbytes > limit:
        raise LimitExceeded(f"shared memory of {nbytes} bytes was offered; {limit} may be mapped", limit=limit)
    return Arena(mmap.mmap(fd, nbytes))
