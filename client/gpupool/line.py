"""One socket to one host: greet, ask, be told at once when the host is gone.

    ask ──header, frames──▶ DEALER ══tcp══▶ host
     ▲                        │
     └── answer, or Gone ◀── socket, or its monitor

A line has one question in flight and one user at a time; whoever is interrupted in mid-question closes it, so that a late answer
is never taken for another question's. It never reconnects: what the host knew of it is gone, so its owner opens another.
"""

from __future__ import annotations

import contextlib
import socket as sockets
import threading
import time
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import zmq
from zmq.utils.monitor import recv_monitor_message

from gpupool import forks
from gpupool_wire.addresses import parse_address
from gpupool_wire.codec import Inbox, encode
from gpupool_wire.conversation import Conversation, Speaker, Table
from gpupool_wire.errors import GpupoolError, RemoteProtocolError, WorkerLost, from_info
from gpupool_wire.limits import BEAT_S, CLIENT_LOST_S, MAX_FRAME_BYTES
from gpupool_wire.messages import Failed, LinkEnded, Message, Probe, SliceNews
from gpupool_wire.tensors import Buffer

M = TypeVar("M", bound=Message)
W = TypeVar("W", bound=Message)

#: Frames that wait in a socket. A question is one message, so this only bounds the probes that an unread line piles up.
QUEUED_FRAMES: Final = 1_000
#: How long a TCP connection and its greeting may take before the host counts as gone.
CONNECT_MS: Final = 3_000
#: How often a line that waits for an answer looks whether its host is gone: nothing beside a failover, nothing beside a call.
LOOK_MS: Final = 50
_MORE: Final = zmq.DONTWAIT | zmq.SNDMORE
#: What the monitor reports that means: this connection carries nothing any more.
_GONE = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class Gone(WorkerLost):
    """The connection is gone."""


class Silent(WorkerLost):
    """No answer came in time."""


class _Contexts:
    """This process's ZeroMQ context. A forked child must not touch its parent's: it gets one of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._inherited: list[zmq.Context[zmq.Socket[bytes]]] = []

    def current(self) -> zmq.Context[zmq.Socket[bytes]]:
        """Return the context of the process that asks."""
        with self._lock:
            if self._context is None:
                self._context = zmq.Context()
                # A program may keep many channels; libzmq's own default is 1023.
                self._context.max_sockets = 8_192
            return self._context

    def renew_in_child(self) -> None:
        """Start afresh in a forked child. The parent's context is kept: collecting it would close its sockets."""
        self._lock = threading.Lock()
        if self._context is not None:
            self._inherited.append(self._context)
            self._context = None


_contexts = _Contexts()
forks.renew_after_fork(_contexts)


class Line(Generic[M]):
    """One DEALER socket and the conversation on it. `greet` first, then `ask`; `close` always."""

    def __init__(self, address: str, table: Table, inbox: Inbox[M]) -> None:
        self.address = address
        self._inbox = inbox
        self._conversation = Conversation(table, Speaker.CALLER)
        self._generation = forks.generation
        self._closed = False
        self.questions = self.sent_bytes = self.received_bytes = 0
        self._socket = _contexts.current().socket(zmq.DEALER)
        self._monitor = self._set_up()
        self._waiting = [(self._socket, zmq.POLLIN), (self._monitor, zmq.POLLIN)]
        try:
            self._socket.connect(parse_address(address, 0).zmq)
        except zmq.ZMQError as error:
            self.close()
            raise Gone(f"cannot connect to {address}: {error}") from error

    def _set_up(self) -> zmq.Socket[bytes]:
        options = {
            zmq.LINGER: 0,
            zmq.RECONNECT_IVL: -1,
            zmq.CONNECT_TIMEOUT: CONNECT_MS,
            zmq.HANDSHAKE_IVL: CONNECT_MS,
            # libzmq's own thread asks and answers: the line is alive also while Python holds its GIL for long.
            zmq.HEARTBEAT_IVL: int(BEAT_S * 1000),
            zmq.HEARTBEAT_TIMEOUT: int(CLIENT_LOST_S * 1000),
            zmq.MAXMSGSIZE: MAX_FRAME_BYTES,
            zmq.SNDHWM: QUEUED_FRAMES,
            zmq.RCVHWM: QUEUED_FRAMES,
            zmq.RCVTIMEO: LOOK_MS,
            # libzmq would look up names as IPv6 alone.
            zmq.IPV6: int(":" in parse_address(self.address, 0).host),
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        if key := parse_address(self.address, 0).key:
            self._socket.curve_publickey, self._socket.curve_secretkey = zmq.curve_keypair()
            self._socket.curve_serverkey = bytes.fromhex(key)
        monitor: zmq.Socket[bytes] = self._socket.get_monitor_socket(_GONE)
        return monitor

    def __repr__(self) -> str:
        return f"<Line to {self.address}, {'closed' if self._closed else self._conversation.state.value}>"

    @property
    def is_open(self) -> bool:
        """Whether it can be asked: greeted, not closed, not known to be gone, and of this process."""
        return not self._closed and self._conversation.is_open and self._generation == forks.generation

    def greet(self, greeting: Message, welcome: type[W], timeout_s: float) -> W:
        """Say who we are and return the host's welcome. Raises Gone, Silent, or the error the host answers with."""
        answer, _ = self.ask(greeting, timeout_s=timeout_s)
        if not isinstance(answer, welcome):
            self.close()
            raise RemoteProtocolError(f"{self.address} answered {type(greeting).__name__} with {type(answer).__name__}")
        return answer

    def ask(self, question: Message, frames: Sequence[Buffer] = (), *, timeout_s: float | None = None) -> tuple[M, list[Buffer]]:
        """Send `question` and return its answer with the answer's frames, which are views of the received buffers.

        Raises Gone where the host goes away first or ends the link, Silent after `timeout_s`, and the host's own error where it
        refuses. Only after a plain refusal of this question the line can be asked again.
        """
        call_id: int | None = getattr(question, "call_id", None)
        parts = encode(question, frames)
        self._conversation.said(question)
        self.questions += 1
        self.sent_bytes += sum(map(len, parts))
        try:
            self._send(parts)
            return self._await_answer(call_id, None if timeout_s is None else time.monotonic() + timeout_s)
        except _Refused as refused:
            raise refused.error from None
        except zmq.Again as error:
            self.close()
            raise Gone(f"{self.address} is gone: the connection broke") from error
        except zmq.ZMQError as error:
            self.close()
            raise Gone(f"the connection to {self.address} failed: {error}") from error
        except BaseException:
            self.close()
            raise

    def _await_answer(self, call_id: int | None, deadline: float | None) -> tuple[M, list[Buffer]]:
        while True:
            message, frames = self._receive(deadline)
            if isinstance(message, Probe | SliceNews):
                continue  # the link's keeper hears it too
            if isinstance(message, LinkEnded):
                raise self._ended(message)
            if isinstance(message, Failed):
                error = from_info(message.error)
                # Call 0 is the whole conversation: the host will not talk on.
                raise _Refused(error) if message.call_id == call_id and call_id else error
            answered: int | None = getattr(message, "call_id", None)
            if answered != call_id:
                raise RemoteProtocolError(f"{self.address} answered call {answered} where {call_id} was asked")
            return message, frames

    def _receive(self, deadline: float | None) -> tuple[M, list[Buffer]]:
        """Return the next message, in the order: what has arrived, then whether the host is gone, then the clock."""
        receive = self._socket.recv
        while True:
            try:
                part = receive(copy=False)
                break
            except zmq.Again:
                # Looked at in between and not polled with every message, which would cost each call more than it is worth.
                if zmq.zmq_poll([(self._monitor, zmq.POLLIN)], 0):
                    raise Gone(f"{self.address} is gone: {self._why_gone()}") from None
                if deadline is not None and time.monotonic() >= deadline:
                    raise Silent(f"{self.address} did not answer in time") from None
        buffers = [part.buffer]
        while part.more:
            part = receive(copy=False)
            buffers.append(part.buffer)
        self.received_bytes += sum(map(len, buffers))
        message, frames = self._inbox.decode(buffers)
        self._conversation.heard(message)
        return message, list(frames)

    def _send(self, parts: Sequence[Buffer]) -> None:
        """Hand a message to libzmq. It never waits: a DEALER whose connection has gone would, for ever."""
        send, last = self._socket.send, len(parts) - 1
        for number, part in enumerate(parts):
            send(part, zmq.DONTWAIT if number == last else _MORE, copy=len(part) < zmq.COPY_THRESHOLD)

    def _why_gone(self) -> str:
        event = zmq.Event(int(recv_monitor_message(self._monitor)["event"]))
        if event is zmq.Event.CLOSED:
            return "the connection was refused, nobody listens there"
        if event is zmq.Event.DISCONNECTED:
            return "the connection broke"
        return (
            "what listens there does not speak ZeroMQ, encrypts (its address then is curve://KEY@host:port), "
            "or is not who the address's key says"
        )

    def listen(self, wake_fd: int) -> M | None:
        """Wait for what arrives unasked and return it, or None once `wake_fd` is readable.

        Raises Gone where the host goes away or ends the link.
        """
        try:
            ready = zmq.zmq_poll([*self._waiting, (wake_fd, zmq.POLLIN)], -1)
            if any(source == wake_fd for source, _ in ready):
                return None
            message, _ = self._receive(time.monotonic())
        except GpupoolError:
            self.close()
            raise
        if isinstance(message, LinkEnded):
            self.close()
            raise self._ended(message)
        return message

    def _ended(self, message: LinkEnded) -> Gone:
        """Return what the end of the link is to a caller: gone. Whether the slice has ended too, only its locator can say."""
        return Gone(f"{self.address} ended the link: {message.error.message}")

    def close(self, goodbye: Message | None = None) -> None:
        """Close the line, with a last word where there is one. Idempotent; a forked child leaves its parent's socket alone."""
        if self._closed or self._generation != forks.generation:
            return
        self._closed = True
        if goodbye is not None and self._conversation.is_open:
            self._conversation.said(goodbye)
            # The last word is worth a moment: without it the host would learn of the end only from the broken connection.
            self._socket.linger = 200
            with contextlib.suppress(zmq.ZMQError):
                self._socket.send_multipart(encode(goodbye), zmq.DONTWAIT)
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close()


class _Refused(Exception):
    """The host refused this one question; the conversation goes on."""

    def __init__(self, error: GpupoolError) -> None:
        super().__init__(str(error))
        self.error = error


def why_unresolvable(address: str) -> str | None:
    """Return why the host name of `address` means nothing here, or None where it does."""
    try:
        parsed = parse_address(address, 0)
        sockets.getaddrinfo(parsed.host, parsed.port or None)
    except (OSError, UnicodeError) as error:
        return str(error)
    return None
