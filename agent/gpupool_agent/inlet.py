"""Where a worker's main thread waits, and what arrives there from clients.

    ROUTER, streams, agent's channel, finished calls ──> wait ──ready──> receive ──(channel, frames)──> hear
                                                          └── looks briefly before it sleeps, inside the slice's own turn

A channel is named by its routing id or by the number of its stream; whoever hears a message need not know which.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import zmq

from gpupool_agent.alignment import TINY_BYTES
from gpupool_agent.core.sessions import ChannelId
from gpupool_agent.outbox import Outbox
from gpupool_agent.streams import Streams
from gpupool_wire.errors import ErrorInfo, RemoteProtocolError
from gpupool_wire.spinning import CROWDED_NS, Spin
from gpupool_wire.tensors import Buffer

#: Messages taken from the ROUTER in one turn, so that replies and the agent get theirs.
RECEIVED_PER_TURN = 32
#: How long this thread looks for the next call before it sleeps, where that has paid lately.
SPIN_NS = 150_000
_POLLIN = int(zmq.POLLIN)

Ready = Mapping[int, int]


class Listener(Protocol):
    """Who hears what arrives."""

    def hear(self, channel_id: ChannelId, frames: Sequence[Buffer]) -> bool:
        """Handle a message, whatever is wrong with it; return whether the channel belongs to a link afterwards."""

    def refuse(self, channel_id: ChannelId, error: ErrorInfo) -> None:
        """Tell a channel what was wrong with what it sent; it is closed after that."""

    def gone(self, channel_id: ChannelId, reason: str) -> None:
        """A channel has ended."""


class Inlet:
    """The one place where main waits. Main's own."""

    def __init__(
        self, router: zmq.Socket[bytes], epoll: select.epoll, streams: Streams, outbox: Outbox, listener: Listener
    ) -> None:
        self._router = router
        self._epoll = epoll
        self._streams = streams
        self._outbox = outbox
        self._listener = listener
        self._router_fd = int(router.getsockopt(zmq.FD))
        self._epoll.register(self._router_fd, select.EPOLLIN)
        self._router_waits = False
        self._unheard = 0
        self._spin = Spin(SPIN_NS)

    def watch(self, fd: int) -> None:
        """Have `wait` end also when this descriptor is readable."""
        self._epoll.register(fd, select.EPOLLIN)

    @property
    def has_more(self) -> bool:
        """Whether messages wait behind the one that is being heard."""
        self._outbox.has_sent = True  # asking takes in what the descriptor would have told of, as sending does
        return self._unheard > 0 or self._router_has_more()

    def wait(self, wait_s: float, *, may_look: Callable[[], bool]) -> Ready:
        """Wait until something is ready, at most so long; `may_look` says whether to look for it before sleeping."""
        # The descriptor of a ZeroMQ socket tells of changes alone: what is there already has to be asked for.
        self._router_waits = self._outbox.has_sent and self._router_has_more()
        self._outbox.has_sent = False
        if self._router_waits:
            return dict(self._epoll.poll(0))
        if may_look() and (budget_ns := self._spin.budget_ns()) and (ready := self._look(budget_ns)):
            return dict(ready)
        return dict(self._epoll.poll(max(0.0, wait_s)))

    def _look(self, budget_ns: int) -> list[tuple[int, int]]:
        """Look without sleeping, as far as nobody else wants the core."""
        now_ns = time.monotonic_ns()
        until_ns = now_ns + budget_ns
        while not (ready := self._epoll.poll(0)):
            os.sched_yield()
            before_ns, now_ns = now_ns, time.monotonic_ns()
            if now_ns - before_ns > CROWDED_NS:
                self._spin.crowded()
                return []
            if now_ns > until_ns:
                self._spin.missed()
                return []
        self._spin.hit()
        return ready

    def receive(self, ready: Ready) -> None:
        """Have what has arrived heard."""
        if self._router_waits or self._router_fd in ready:
            self._receive()
        self._unheard = sum(fd in self._streams for fd in ready)
        for fd, events in ready.items():
            if fd == self._streams.listener_fd:
                self._streams.accept(time.monotonic())
            elif fd in self._streams:  # a message heard before may have ended it
                self._unheard -= 1
                if events & select.EPOLLOUT and not self._streams.flush(fd):
                    self._listener.gone(self._streams.number_of(fd), "the client's stream is gone")
                elif events & ~select.EPOLLOUT:
                    self._receive_stream(fd)

    def _receive(self) -> None:
        for _ in range(RECEIVED_PER_TURN):
            if not self._router_has_more():
                return
            self._outbox.has_sent = True  # so it is asked again when this turn ends
            parts = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            self._listener.hear(parts[0].bytes, [part.bytes if len(part) <= TINY_BYTES else part.buffer for part in parts[1:]])

    def _receive_stream(self, fd: int) -> None:
        number = self._streams.number_of(fd)
        try:
            messages = self._streams.read(fd)
        except RemoteProtocolError as error:  # where its next message begins, nobody knows
            self._listener.refuse(number, error.to_info())
            self._listener.gone(number, error.message)
            return
        if messages is None:
            self._listener.gone(number, "the client's stream has ended")
            return
        for frames in messages:
            if not self._listener.hear(number, frames):
                self._streams.close(number)
                return

    def _router_has_more(self) -> bool:
        return bool(int(self._router.getsockopt(zmq.EVENTS)) & _POLLIN)
