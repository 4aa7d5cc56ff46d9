"""Messages on a byte stream between two processes of one host: which bytes are which frame.

    frames ──laid_out──> prefix, frame, frame, ... ──Outflow══ bytes ══>  Inflow.room(), took(n) ──> frames

A message is a prefix (how many frames, then the length of each: little-endian, 32 bits), then its frames as they are. Where both
ends have mapped an arena (see gpupool_wire.arena), a length with its highest bit set is that of a frame which lies there and does
not follow; after the lengths come the offsets of such frames, 32 bits each. Nothing here touches a socket: `Outflow.views` is
what to write next, `Inflow.room` where to read to.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from gpupool_wire.arena import SHARED_FROM_BYTES, TRAVELS, Arena, check, room_for
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.limits import MAX_FRAME_BYTES, MAX_FRAMES, MAX_MESSAGE_BYTES
from gpupool_wire.tensors import Buffer

#: A message that fits is read with one system call, and its frames are copied out of it; of larger ones the beginning is copied,
#: and the rest is read to where it stays. The prefix of a message of MAX_FRAMES has to fit, all of them in the arena.
SCRATCH_BYTES = 40 * 1024
#: What a socket's buffer is asked to hold (the kernel may give less): the outputs of most calls, so that nobody waits there.
STREAM_BUFFER_BYTES = 2 * 1024 * 1024
#: Buffers of one system call (IOV_MAX of Linux).
MAX_VIEWS = 1024
#: The mark of a length whose frame lies in the arena.
SHARED = 1 << 31
_count = struct.Struct("<I")


def prefix_of(frames: Sequence[Buffer]) -> bytes:
    """Return what goes before the frames of one message."""
    return struct.pack(f"<{len(frames) + 1}I", len(frames), *map(len, frames))


def laid_out(frames: Sequence[Buffer], arena: Arena | None = None) -> list[Buffer]:
    """Return what a message is on the stream: its prefix, and the frames that do not lie in the arena.

    Large ones are copied there, unless some lie there already (see Arena.hold). The arena has to be the caller's at the moment.
    """
    if arena is None or max(map(len, frames)) < SHARED_FROM_BYTES:
        return [prefix_of(frames), *frames]
    offsets = [arena.offset_of(frame) for frame in frames]
    if max(offsets) == TRAVELS:
        offsets = [arena.offset_of(frame) for frame in arena.hold(frames)]
    sizes = [len(frame) | (SHARED if offset != TRAVELS else 0) for frame, offset in zip(frames, offsets, strict=True)]
    lying = [offset for offset in offsets if offset != TRAVELS]
    travelling = [frame for frame, offset in zip(frames, offsets, strict=True) if offset == TRAVELS]
    return [struct.pack(f"<{1 + len(sizes) + len(lying)}I", len(sizes), *sizes, *lying), *travelling]


class Outflow:
    """One message on its way out, as far as the stream has taken it."""

    __slots__ = ("_left",)

    def __init__(self, parts: Sequence[Buffer]) -> None:
        """`parts`: the message as it was laid out."""
        self._left: deque[memoryview] = deque(memoryview(part) for part in parts)

    @property
    def is_done(self) -> bool:
        """Whether all of it has been taken."""
        return not self._left

    def views(self) -> list[memoryview]:
        """Return what is to be written next."""
        return list(islice(self._left, MAX_VIEWS))

    def sent(self, nbytes: int) -> None:
        """So many bytes of `views` were taken."""
        left = self._left
        while left and nbytes >= len(left[0]):
            nbytes -= len(left.popleft())
        if nbytes:
            left[0] = left[0][nbytes:]


class _Head(NamedTuple):
    """What a prefix says."""

    #: The length of each frame, and the sum of those that follow on the stream.
    sizes: Sequence[int]
    follows_bytes: int
    #: The bytes of the prefix itself.
    nbytes: int
    #: Of each frame, where in the arena it lies, TRAVELS if it follows; empty where all follow.
    offsets: Sequence[int] = ()


class Inflow:
    """What arrives on one stream, cut into messages. After an error there is no telling where the next message begins."""

    __slots__ = ("_end", "_frames", "_lying", "_missing", "_scratch", "arena", "limit_bytes")

    def __init__(self, limit_bytes: int = MAX_MESSAGE_BYTES, arena: Arena | None = None) -> None:
        #: The longest message that is taken in.
        self.limit_bytes = limit_bytes
        #: Where frames may lie that do not follow; None until both ends have mapped one.
        self.arena = arena
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._end = 0
        #: A message larger than the scratch: its frames, the parts of them that are still to come, and those in the arena.
        self._frames: list[memoryview] = []
        self._missing: deque[memoryview] = deque()
        self._lying: Sequence[int] = ()

    @property
    def is_amid_large(self) -> bool:
        """Whether `room` is the rest of a large message and nothing else: worth waiting until all of it is there."""
        return bool(self._missing)

    def room(self) -> list[memoryview]:
        """Return where the next bytes go, in order."""
        return list(islice(self._missing, MAX_VIEWS)) if self._missing else [self._scratch[self._end :]]

    def took(self, nbytes: int) -> list[list[Buffer]]:
        """So many bytes have been put into `room`; return the messages that are whole now.

        Frames are buffers of their own, which nobody else writes to. Raises RemoteProtocolError for a message past the limits.
        """
        if self._missing:
            return self._fill(nbytes)
        self._end += nbytes
        messages: list[list[Buffer]] = []
        start = 0
        while (head := self._head(start)) is not None:
            begin = start + head.nbytes
            end = begin + head.follows_bytes
            if end <= self._end:
                messages.append(self._cut(head, begin))
                start = end
                continue
            if end - start > SCRATCH_BYTES:
                self._begin_large(head, begin)
                start = self._end
            break
        left = self._end - start
        if start and left:
            self._scratch[:left] = bytes(self._scratch[start : self._end])
        self._end = left
        return messages

    def _head(self, start: int) -> _Head | None:
        """Return what the prefix that begins there says, once it is here."""
        here = self._end - start
        if here < _count.size:
            return None
        (count,) = _count.unpack_from(self._scratch, start)
        if not 0 < count <= MAX_FRAMES:
            raise RemoteProtocolError(f"a message of {count} frames arrived; the limit is {MAX_FRAMES}")
        nbytes = _count.size * (count + 1)
        if here < nbytes:
            return None
        sizes = struct.unpack_from(f"<{count}I", self._scratch, start + _count.size)
        if max(sizes) >= SHARED and self.arena is not None:
            return self._shared_head(sizes, start, nbytes)
        self._check(sizes)
        return _Head(sizes, sum(sizes), nbytes)

    def _shared_head(self, marked: Sequence[int], start: int, nbytes: int) -> _Head | None:
        """Return what a prefix says of frames that lie in the arena, once their offsets are here."""
        count = sum(size >= SHARED for size in marked)
        total = nbytes + _count.size * count
        if self._end - start < total:
            return None
        lying = iter(struct.unpack_from(f"<{count}I", self._scratch, start + nbytes))
        offsets = [next(lying) if size >= SHARED else TRAVELS for size in marked]
        sizes = [size & ~SHARED for size in marked]
        self._check(sizes)
        regions = [(offset, size) for offset, size in zip(offsets, sizes, strict=True) if offset != TRAVELS]
        check(regions, 0 if self.arena is None else len(self.arena))
        return _Head(sizes, sum(sizes) - sum(size for _, size in regions), total, offsets)

    def _check(self, sizes: Sequence[int]) -> None:
        if sum(sizes) > self.limit_bytes or max(sizes) > MAX_FRAME_BYTES:
            raise RemoteProtocolError(
                f"a message of {sum(sizes)} bytes, largest frame {max(sizes)}, arrived; "
                f"the limits are {self.limit_bytes} and {MAX_FRAME_BYTES}"
            )

    def _cut(self, head: _Head, begin: int) -> list[Buffer]:
        """Return the frames of a message of which all that follows is in the scratch."""
        if head.offsets:
            frames = room_for(head.sizes)
            self._gather(frames, head.offsets, begin)
            return list(frames)
        cut: list[Buffer] = []
        for size in head.sizes:
            cut.append(bytearray(self._scratch[begin : begin + size]))
            begin += size
        return cut

    def _gather(self, frames: Sequence[memoryview], offsets: Sequence[int], begin: int) -> None:
        for frame, offset in zip(frames, offsets, strict=True):
            if offset == TRAVELS:
                frame[:] = self._scratch[begin : begin + len(frame)]
                begin += len(frame)
        self._take(frames, offsets)

    def _take(self, frames: Sequence[memoryview], offsets: Sequence[int]) -> None:
        """Fill the frames that lie in the arena."""
        for frame, offset in zip(frames, offsets, strict=False):  # none where nothing lies there
            if offset != TRAVELS and self.arena is not None:
                self.arena.take(offset, frame)

    def _begin_large(self, head: _Head, begin: int) -> None:
        """Make room for the frames of a message, and move what has arrived of them there."""
        self._frames, self._lying = room_for(head.sizes), head.offsets
        for number, frame in enumerate(self._frames):
            if head.offsets and head.offsets[number] != TRAVELS:
                continue
            here = min(len(frame), self._end - begin)
            frame[:here] = self._scratch[begin : begin + here]
            begin += here
            if here < len(frame):
                self._missing.append(frame[here:])

    def _fill(self, nbytes: int) -> list[list[Buffer]]:
        missing = self._missing
        while missing and nbytes >= len(missing[0]):
            nbytes -= len(missing.popleft())
        if missing:
            missing[0] = missing[0][nbytes:]
            return []
        frames, self._frames = self._frames, []
        self._take(frames, self._lying)
        return [list(frames)]
