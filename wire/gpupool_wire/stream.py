"""Messages on a byte stream between two processes of one host: which bytes are which frame.

    frames ──Outflow──> prefix, frame, frame, ...  ══ bytes ══>  Inflow.room(), took(n) ──> frames

A message is a prefix (how many frames, then the length of each: little-endian, 32 bits), then its frames as they are. Nothing
here touches a socket: `Outflow.views` is what to write next, `Inflow.room` where to read to.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from itertools import islice

import numpy as np

from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.limits import MAX_FRAME_BYTES, MAX_FRAMES, MAX_MESSAGE_BYTES
from gpupool_wire.tensors import Buffer

#: A message that fits is read with one system call, and its frames are copied out of it; of larger ones the beginning is copied,
#: and the rest is read to where it stays. The prefix of a message of MAX_FRAMES has to fit.
SCRATCH_BYTES = 20 * 1024
#: What a socket's buffer is asked to hold (the kernel may give less): the outputs of most calls, so that nobody waits there.
STREAM_BUFFER_BYTES = 2 * 1024 * 1024
#: Buffers of one system call (IOV_MAX of Linux).
MAX_VIEWS = 1024
_count = struct.Struct("<I")


def prefix_of(frames: Sequence[Buffer]) -> bytes:
    """Return what goes before the frames of one message."""
    return struct.pack(f"<{len(frames) + 1}I", len(frames), *map(len, frames))


class Outflow:
    """One message on its way out, as far as the stream has taken it."""

    __slots__ = ("_left",)

    def __init__(self, frames: Sequence[Buffer]) -> None:
        self._left: deque[memoryview] = deque(memoryview(part) for part in (prefix_of(frames), *frames))

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


class Inflow:
    """What arrives on one stream, cut into messages. After an error there is no telling where the next message begins."""

    __slots__ = ("_end", "_frames", "_missing", "_scratch", "limit_bytes")

    def __init__(self, limit_bytes: int = MAX_MESSAGE_BYTES) -> None:
        #: The longest message that is taken in.
        self.limit_bytes = limit_bytes
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._end = 0
        #: A message larger than the scratch: its frames, and the parts of them that are still to come.
        self._frames: list[Buffer] = []
        self._missing: deque[memoryview] = deque()

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
        while (sizes := self._sizes(start)) is not None:
            begin = start + _count.size * (len(sizes) + 1)
            end = begin + sum(sizes)
            if end <= self._end:
                messages.append(self._cut(sizes, begin))
                start = end
                continue
            if end - start > SCRATCH_BYTES:
                self._begin_large(sizes, begin)
                start = self._end
            break
        left = self._end - start
        if start and left:
            self._scratch[:left] = bytes(self._scratch[start : self._end])
        self._end = left
        return messages

    def _sizes(self, start: int) -> Sequence[int] | None:
        """Return the lengths of the frames of the message that begins there, once its prefix is here."""
        here = self._end - start
        if here < _count.size:
            return None
        (count,) = _count.unpack_from(self._scratch, start)
        if not 0 < count <= MAX_FRAMES:
            raise RemoteProtocolError(f"a message of {count} frames arrived; the limit is {MAX_FRAMES}")
        if here < _count.size * (count + 1):
            return None
        sizes = struct.unpack_from(f"<{count}I", self._scratch, start + _count.size)
        if sum(sizes) > self.limit_bytes or max(sizes) > MAX_FRAME_BYTES:
            raise RemoteProtocolError(
                f"a message of {sum(sizes)} bytes, largest frame {max(sizes)}, arrived; "
                f"the limits are {self.limit_bytes} and {MAX_FRAME_BYTES}"
            )
        return sizes

    def _cut(self, sizes: Sequence[int], begin: int) -> list[Buffer]:
        frames: list[Buffer] = []
        for size in sizes:
            frames.append(bytearray(self._scratch[begin : begin + size]))
            begin += size
        return frames

    def _begin_large(self, sizes: Sequence[int], begin: int) -> None:
        """Make room for the frames of a message, and move what has arrived of them there."""
        for size in sizes:
            frame = np.empty(size, np.uint8).data  # not a bytearray, which would be filled with zeros first
            here = min(size, self._end - begin)
            frame[:here] = self._scratch[begin : begin + here]
            begin += here
            self._frames.append(frame)
            if here < size:
                self._missing.append(frame[here:])

    def _fill(self, nbytes: int) -> list[list[Buffer]]:
        missing = self._missing
        while missing and nbytes >= len(missing[0]):
            nbytes -= len(missing.popleft())
        if missing:
            missing[0] = missing[0][nbytes:]
            return []
        frames, self._frames = self._frames, []
        return [frames]
