"""Memory that both ends of a stream have mapped: large frames lie in it, in place of travelling.

    frames ──place──> offsets ──put: one copy──> arena        prefix (lengths, offsets), small frames ══ stream ══> peer
                                                 arena ──take: one copy──> frames of its own         (see gpupool_wire.stream)

The arena needs no bookkeeping, because the two ends take turns: it is the asker's until the question has been sent, then the
other's until its answer has arrived, and one question is in flight. Whoever hears a message copies out what lies in the arena
before anybody looks at it: lengths and offsets come in the stream and are checked once, against the arena's own size, and what a
peer writes afterwards, in its turn or out of it, changes no tensor that was taken.

Nothing here maps memory: that is the shells' part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.limits import CHUNK_BYTES
from gpupool_wire.tensors import Buffer
from gpupool_wire.units import MIB

#: How large an arena is. Pages nobody has written to take no memory, and a frame that has no room in it travels on the stream: so
#: this bounds what one channel may hold, not what it may carry.
ARENA_BYTES: Final = 32 * MIB
#: Frames from here on lie in the arena: a smaller one is through the socket before the arena's own overhead is paid.
SHARED_FROM_BYTES: Final = 32 * 1024
#: A copy below takes some tens of microseconds; whoever gives Python's lock away for it may wait longer until he has it back.
UNLOCKED_FROM_BYTES: Final = 2 * MIB
#: Where frames begin: cache lines, so that no two frames share one.
ALIGNMENT: Final = 64
#: What `place` says of a frame that is to travel.
TRAVELS: Final = -1


def place(sizes: Sequence[int], room_bytes: int) -> list[int]:
    """Return the offset of each frame in an arena of `room_bytes`, TRAVELS for those that do not lie there.

    The first frame of a message, its header, always travels.
    """
    offsets = [TRAVELS] * len(sizes)
    end = 0
    for number, size in enumerate(sizes):
        if number and size >= SHARED_FROM_BYTES and end + size <= room_bytes:
            offsets[number] = end
            end += -(-size // ALIGNMENT) * ALIGNMENT
    return offsets


def check(regions: Sequence[tuple[int, int]], room_bytes: int) -> None:
    """Raise RemoteProtocolError where regions (offset, size) do not lie one behind the other in an arena of `room_bytes`.

    A region named twice would be copied twice: a short message could cost any amount of memory.
    """
    end = 0
    for offset, size in regions:
        if not size or offset < end or offset + size > room_bytes:
            raise RemoteProtocolError(
                f"a frame of {size} bytes is said to lie at {offset} of shared memory; it may lie from {end} to {room_bytes}"
            )
        end = offset + size


def _copy(to: memoryview, frame: Buffer) -> None:
    """Copy a frame, others running meanwhile where it is large enough for that to be worth giving Python's lock away."""
    if len(frame) < UNLOCKED_FROM_BYTES:
        to[:] = frame
    else:
        np.copyto(np.frombuffer(to, np.uint8), np.frombuffer(frame, np.uint8))


class Arena:
    """Mapped memory, seen as bytes. Used by one thread at a time."""

    __slots__ = ("_memory", "_start")

    def __init__(self, memory: Any) -> None:  # noqa: ANN401 - any writable buffer: typing has no name for it before Python 3.12
        self._memory = memoryview(memory)
        self._start = int(np.frombuffer(memory, np.uint8).ctypes.data)

    def __repr__(self) -> str:
        return f"<Arena of {len(self)} bytes>"

    def __len__(self) -> int:
        return len(self._memory)

    def hold(self, frames: Sequence[Buffer]) -> list[Buffer]:
        """Copy the frames in that have room, header first; return those as views of the arena, and the others as they are."""
        held = list(frames)
        for number, offset in enumerate(place(list(map(len, frames)), len(self))):
            if offset != TRAVELS:
                held[number] = room = self._memory[offset : offset + len(frames[number])]
                _copy(room, frames[number])
        return held

    def offset_of(self, frame: Buffer) -> int:
        """Return where in the arena a frame lies, TRAVELS for one that does not."""
        if not isinstance(frame, memoryview) or frame.obj is not self._memory.obj:
            return TRAVELS
        return int(np.frombuffer(frame, np.uint8).ctypes.data) - self._start

    def take(self, offset: int, room: memoryview) -> None:
        """Fill `room` with what lies at `offset`, which was checked."""
        _copy(room, self._memory[offset : offset + len(room)])


def room_for(sizes: Sequence[int]) -> list[memoryview]:
    """Return room for the frames of a message. A tensor's chunks lie side by side, so that it need not be gathered from them."""
    room: list[memoryview] = []
    start = 0
    while start < len(sizes):
        end = start + 1
        while sizes[end - 1] == CHUNK_BYTES and end < len(sizes):
            end += 1
        block = np.empty(sum(sizes[start:end]), np.uint8).data  # not a bytearray, which would be filled with zeros first
        begin = 0
        for size in sizes[start:end]:
            room.append(block[begin : begin + size])
            begin += size
        start = end
    return room
