"""What a worker says to its clients: encoded, sent, and kept where a channel is full.

send(message) ──encode──> transmit ──routing id──> ROUTER ──full?──> kept, tried again by retry()
                             │   └────number─────> stream, which keeps what it cannot send
                             └──unreachable──> on_gone(channel)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import zmq

from gpupool_agent.core.sessions import ChannelId, Sessions
from gpupool_agent.streams import Streams
from gpupool_wire.codec import encode
from gpupool_wire.errors import GpupoolError
from gpupool_wire.messages import Failed, Message
from gpupool_wire.tensors import Buffer

#: As plain numbers: combining enums costs more than the rest of the line.
_NOW = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


class Outbox:
    """The way out of one ROUTER socket and the streams beside it. Main's own."""

    def __init__(
        self, router: zmq.Socket[bytes], streams: Streams, sessions: Sessions, on_gone: Callable[[ChannelId, str], None]
    ) -> None:
        self._router = router
        self._streams = streams
        self._sessions = sessions
        #: Called with a channel whose socket is gone, and why.
        self._on_gone = on_gone
        #: Sending may take in what the socket's descriptor would have told of: who waits for it has to ask the socket first.
        self.has_sent = True
        self._unsent: deque[tuple[bytes, list[Buffer]]] = deque()

    def __repr__(self) -> str:
        return f"<Outbox, {len(self._unsent)} replies wait for room>"

    @property
    def has_unsent(self) -> bool:
        """Whether replies wait for room."""
        return bool(self._unsent)

    def send(self, channel_id: ChannelId, message: Message, frames: Sequence[Buffer] = ()) -> None:
        """Say something to a channel; what is too large to travel becomes an error in its place."""
        try:
            self._sessions.said(channel_id, message)
            parts = encode(message, frames)
        except GpupoolError as error:  # too large to travel: the caller hears that instead
            parts = encode(Failed(call_id=getattr(message, "call_id", 0), error=error.to_info()))
        self.transmit(channel_id, parts)

    def transmit(self, channel_id: ChannelId, parts: list[Buffer], *, keep: bool = True) -> bool:
        """Send; return whether the channel took it. What a full channel does not take is kept for later, if `keep`."""
        if isinstance(channel_id, int):
            if is_there := self._streams.send(channel_id, parts):
                return is_there
            self._on_gone(channel_id, "the client's stream is gone")
            return False
        self.has_sent = True
        send = self._router.send
        last = len(parts) - 1
        try:
            send(channel_id, _MORE)
            for index, part in enumerate(parts):
                # Views of large buffers are sent as they are; a small one is copied sooner than shared.
                send(part, _MORE if index < last else _NOW, copy=len(part) < zmq.COPY_THRESHOLD)
        except zmq.Again:
            if keep and self._sessions.link_of(channel_id) is not None:
                self._unsent.append((channel_id, parts))
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._on_gone(channel_id, "the client's socket is gone")
        return True

    def retry(self) -> None:
        """Try again what waits."""
        for _ in range(len(self._unsent)):
            channel_id, parts = self._unsent.popleft()
            self.transmit(channel_id, parts)
