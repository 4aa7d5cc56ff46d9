"""The channels of clients on this host: Unix sockets, which the worker's main thread reads and writes itself.

    client ──connect──> listener ──accept──> stream ──read──> messages ──> Server
                                             stream <──send── replies; what the socket does not take waits for EPOLLOUT

The name is an abstract one, drawn at random: whoever is in the same network namespace can find it, nobody else, and it vanishes
with the worker. What admits a client is its ticket, as everywhere; until it has shown one it may say no more than that.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from gpupool_agent.core.sessions import JOIN_S
from gpupool_wire.stream import STREAM_BUFFER_BYTES, Inflow, Outflow, prefix_of
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
_OUT = select.EPOLLIN | select.EPOLLOUT


@dataclass(slots=True, kw_only=True, eq=False)
class _Stream:
    """One client's connection."""

    number: int
    socket: socket.socket
    inflow: Inflow
    accepted_s: float
    has_joined: bool = False
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

    def joined(self, number: int) -> None:
        """Take messages of any size from it from now on."""
        if (stream := self._by_number.get(number)) is not None and not stream.has_joined:
            stream.has_joined = True
            stream.inflow.limit_bytes = Inflow().limit_bytes

    def read(self, fd: int) -> list[list[Buffer]] | None:
        """Return the messages that are whole, None where the stream has ended. Raises RemoteProtocolError for what is none."""
        stream = self._by_fd[fd]
        looks = 0
        while True:
            room = stream.inflow.room()
            try:
                nbytes = stream.socket.recv_into(room[0]) if len(room) == 1 else stream.socket.recvmsg_into(room)[0]
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
        frames = [prefix_of(parts), *parts]
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
        outflow = Outflow(parts)
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
