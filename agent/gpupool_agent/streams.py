"""The channels of clients on this host: Unix sockets, which the worker's main thread reads and writes itself.

    client ──connect──> listener ──accept──> stream ──read──> messages ──> Server
                                             stream <──send── replies; what the socket does not take waits for EPOLLOUT
           memory to share, with the greeting ──joined──> Arena: where large frames lie, there and back

The name is an abstract one, drawn at random: whoever is in the same network namespace can find it, nobody else, and it vanishes
with the worker. What admits a client is its ticket, as everywhere; until it has shown one it may say no more than that.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from gpupool_agent import shared_memory
from gpupool_agent.core.sessions import JOIN_S
from gpupool_wire.arena import Arena
from gpupool_wire.errors import GpupoolError
from gpupool_wire.stream import STREAM_BUFFER_BYTES, Inflow, Outflow, laid_out
from gpupool_wire.tensors import Buffer

#: Connections at a time, and how many may wait to be accepted.
MAX_STREAMS = 1024
BACKLOG = 64
#: What somebody may say who has not joined: a ticket, and a little.
STRANGER_BYTES = 4096
#: Replies that wait for a client that does not read. It has one call in flight, so it means no good.
MAX_UNSENT = 64
#: How often in a row the rest of a large message is looked for before this thread turns to others: its sender, who is copying it,
#: needs some microseconds for each piece, and a turn through the poller takes longer.
MAX_LOOKS = 20
#: Descriptors that may come with a greeting; the kernel closes others.
MAX_OFFERED = 1
_OFFER_BYTES = socket.CMSG_SPACE(4 * MAX_OFFERED)
_log = logging.getLogger(__name__)
_OUT = select.EPOLLIN | select.EPOLLOUT


@dataclass(slots=True, kw_only=True, eq=False)
class _Stream:
    """One client's connection."""

    number: int
    socket: socket.socket
    inflow: Inflow
    accepted_s: float
    has_joined: bool = False
    #: The memory it offers to share, as descriptors, until it has joined.
    offered: list[int] = field(default_factory=list)
    unsent: deque[Outflow] = field(default_factory=deque)


class Streams:
    """The connections of one worker, by number and by descriptor. Main's own."""

    def __init__(self, epoll: select.epoll) -> None:
        self.name = f"gpupool-worker-{secrets.token_hex(16)}"
        self._epoll = epoll
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind("\0" + self.name)
        self._listener.listen(BACKLOG)
        self._epoll.register(self._listener, select.EPOLLIN)
        self._by_fd: dict[int, _Stream] = {}
        self._by_number: dict[int, _Stream] = {}
        self._last_number = 0
        #: What the arenas of all streams are together.
        self._shared_bytes = 0

    def __repr__(self) -> str:
        return f"<Streams at {self.name}, {len(self._by_fd)} connections>"

    def __contains__(self, fd: int) -> bool:
        return fd in self._by_fd

    @property
    def listener_fd(self) -> int:
        """Readable when somebody connects."""
        return self._listener.fileno()

    def accept(self, now_s: float) -> None:
        """Take the connections that wait."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            if len(self._by_fd) >= MAX_STREAMS:
                connection.close()
                continue
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER_BYTES)
            self._last_number += 1
            stream = _Stream(number=self._last_number, socket=connection, inflow=Inflow(STRANGER_BYTES), accepted_s=now_s)
            self._by_fd[connection.fileno()] = self._by_number[stream.number] = stream
            self._epoll.register(connection, select.EPOLLIN)

    def number_of(self, fd: int) -> int:
        """Return the number of the stream with that descriptor."""
        return self._by_fd[fd].number

    def joined(self, number: int) -> int:
        """Take messages of any size from it from now on; return how much of the memory it offers is shared with it."""
        stream = self._by_number.get(number)
        if stream is None or stream.has_joined:
            return 0
        stream.has_joined = True
        stream.inflow.limit_bytes = Inflow().limit_bytes
        try:
            for fd in stream.offered:
                arena = shared_memory.mapped(fd, shared_memory.MAX_SHARED_BYTES - self._shared_bytes)
                stream.inflow.arena = arena
                self._shared_bytes += len(arena)
                return len(arena)
        except (OSError, ValueError, GpupoolError) as error:
            _log.warning("a client's memory is not shared: %s", error, extra={"action": "not_shared"})
        finally:
            _close_offered(stream)
        return 0

    def arena_of(self, number: int) -> Arena | None:
        """Return the memory that is shared with a stream, None where there is none."""
        stream = self._by_number.get(number)
        return stream.inflow.arena if stream is not None else None

    def read(self, fd: int) -> list[list[Buffer]] | None:
        """Return the messages that are whole, None where the stream has ended. Raises RemoteProtocolError for what is none."""
        stream = self._by_fd[fd]
        looks = 0
        while True:
            try:
                nbytes = _received(stream)
            except BlockingIOError:
                looks += 1
                if looks > MAX_LOOKS or not stream.inflow.is_amid_large:
                    return []
                os.sched_yield()
                continue
            except OSError:
                return None
            if not nbytes:
                return None
            if messages := stream.inflow.took(nbytes):
                return messages
            looks = 0

    def send(self, number: int, parts: Sequence[Buffer]) -> bool:
        """Send a message, later what the socket does not take now; return False where the client is gone or does not read."""
        stream = self._by_number.get(number)
        if stream is None:
            return False
        frames = laid_out(parts, stream.inflow.arena)
        if not stream.unsent and len(frames) < 64:
            try:
                sent = stream.socket.sendmsg(frames, (), socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError:
                return False
            if sent == sum(map(len, frames)):
                return True
        else:
            sent = 0
        if len(stream.unsent) >= MAX_UNSENT:
            return False
        outflow = Outflow(frames)
        outflow.sent(sent)
        stream.unsent.append(outflow)
        self._epoll.modify(stream.socket, _OUT)
        return True

    def flush(self, fd: int) -> bool:
        """Send what waits, as far as the socket takes it; return False where the client is gone."""
        stream = self._by_fd[fd]
        while stream.unsent:
            outflow = stream.unsent[0]
            try:
                outflow.sent(stream.socket.sendmsg(outflow.views(), (), socket.MSG_NOSIGNAL))
            except BlockingIOError:
                return True
            except OSError:
                return False
            if outflow.is_done:
                stream.unsent.popleft()
        self._epoll.modify(stream.socket, select.EPOLLIN)
        return True

    def close(self, number: int) -> None:
        """End a connection. Idempotent."""
        stream = self._by_number.pop(number, None)
        if stream is not None:
            del self._by_fd[stream.socket.fileno()]
            self._epoll.unregister(stream.socket)
            stream.socket.close()
            _close_offered(stream)
            self._shared_bytes -= len(stream.inflow.arena or ())

    def close_strangers(self, now_s: float) -> None:
        """End the connections that have not joined in time."""
        for stream in list(self._by_fd.values()):
            if not stream.has_joined and now_s - stream.accepted_s > JOIN_S:
                self.close(stream.number)

    def close_all(self) -> None:
        """End every connection, after a last try to send what waits, and listen no more."""
        for fd, stream in list(self._by_fd.items()):
            with contextlib.suppress(OSError):
                self.flush(fd)
            self.close(stream.number)
        self._epoll.unregister(self._listener)
        self._listener.close()


def _received(stream: _Stream) -> int:
    """Read what there is room for; return how much, 0 at the end. Raises BlockingIOError where there is nothing."""
    room = stream.inflow.room()
    if stream.has_joined:
        return stream.socket.recv_into(room[0]) if len(room) == 1 else stream.socket.recvmsg_into(room)[0]
    nbytes, ancillary, _, _ = stream.socket.recvmsg_into(room, _OFFER_BYTES, socket.MSG_CMSG_CLOEXEC)
    stream.offered += shared_memory.descriptors(ancillary)
    while len(stream.offered) > MAX_OFFERED:
        os.close(stream.offered.pop())
    return nbytes


def _close_offered(stream: _Stream) -> None:
    while stream.offered:
        os.close(stream.offered.pop())
