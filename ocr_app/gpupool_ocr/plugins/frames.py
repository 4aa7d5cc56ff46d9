"""What travels between the service and a plug-in's process: a length of four bytes, then MessagePack."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import msgspec

#: An A4 page at 200 dpi has 12 MB as BGR; larger images do not go to plug-ins.
MAX_FRAME_BYTES = 64 << 20
_LENGTH = struct.Struct(">I")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A page for a plug-in."""

    #: [{"polygon": [[x, y], ...], "text": str, "score": float}, ...] in reading order.
    lines: list[dict[str, Any]]
    height: int
    width: int
    #: uint8 BGR rows of height x width x colours, where the plug-in wants it.
    image: bytes | None = None
    colours: int = 3


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a plug-in found, or why it did not."""

    fields: dict[str, Any] = {}
    #: The plug-in's own exception.
    error: str | None = None
    #: The first answer of a process, when its function is imported.
    is_ready: bool = False


class FrameError(Exception):
    """The other side sent something that is no frame."""


def send(to: socket.socket, message: msgspec.Struct) -> None:
    """Send a message. Raises OSError, and FrameError where it is too large."""
    payload = msgspec.msgpack.encode(message)
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameError(f"a message of {len(payload)} bytes; the limit is {MAX_FRAME_BYTES}")
    to.sendall(_LENGTH.pack(len(payload)) + payload)


def receive(source: socket.socket, timeout_s: float | None = None, *, limit: int = MAX_FRAME_BYTES) -> bytes:
    """Return the payload of the next frame; raise EOFError at the end, TimeoutError, OSError, FrameError."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size, deadline))
    if length > limit:
        raise FrameError(f"a message of {length} bytes; the limit is {limit}")
    return bytes(_exactly(source, length, deadline))


def _exactly(source: socket.socket, count: int, deadline: float | None) -> bytearray:
    data = bytearray()
    while len(data) < count:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            source.settimeout(left)
        chunk = source.recv(min(count - len(data), 1 << 20))
        if not chunk:
            raise EOFError
        data += chunk
    return data
