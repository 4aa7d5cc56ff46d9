"""One connection to one host: greet, ask, be told at once when the host is gone.

    ask ──header, frames──▶ Connection ══tcp, or a Unix socket══▶ host
     ▲                          │
     └── answer, or Gone ◀──────┘

A line has one question in flight and one user at a time; whoever is interrupted in mid-question closes it, so that a late answer
is never taken for another question's. It never reconnects: what the host knew of it is gone, so its owner opens another.
"""

from __future__ import annotations

import socket as sockets
import time
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from gpupool import forks
from gpupool.dealer import Dealer
from gpupool.gone import Gone, Silent
from gpupool_wire.addresses import parse_address
from gpupool_wire.codec import Inbox, encode
from gpupool_wire.conversation import Conversation, Speaker, Table
from gpupool_wire.errors import GpupoolError, RemoteProtocolError, from_info
from gpupool_wire.messages import Failed, LinkEnded, Message, Probe, SliceNews
from gpupool_wire.tensors import Buffer

__all__ = ["Connection", "Gone", "Line", "Silent", "why_unresolvable"]

M = TypeVar("M", bound=Message)
W = TypeVar("W", bound=Message)


class Connection(Protocol):
    """What carries a line's messages: frames there and back. Raises Gone where the host is gone."""

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send a message."""

    def receive(self, deadline: float | None) -> list[Buffer]:
        """Return the next message, of which the frames are the caller's own; raise Silent at the deadline (monotonic, s)."""

    def wait(self, wake_fd: int) -> bool:
        """Wait until something arrives, or the host is gone, and return True; False once `wake_fd` is readable."""

    def close(self, last: Sequence[Buffer] = ()) -> None:
        """Close it, after sending `last`, if that is possible at once."""


class Line(Generic[M]):
    """One connection and the conversation on it. `greet` first, then `ask`; `close` always."""

    def __init__(self, address: str, table: Table, inbox: Inbox[M], connection: Connection | None = None) -> None:
        self.address = address
        self._inbox = inbox
        self._conversation = Conversation(table, Speaker.CALLER)
        self._generation = forks.generation
        self._closed = False
        self.questions = self.sent_bytes = self.received_bytes = 0
        self.connection = connection or Dealer(address)

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
            self.connection.send(parts)
            return self._await_answer(call_id, None if timeout_s is None else time.monotonic() + timeout_s)
        except _Refused as refused:
            raise refused.error from None
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
        buffers = self.connection.receive(deadline)
        self.received_bytes += sum(map(len, buffers))
        message, frames = self._inbox.decode(buffers)
        self._conversation.heard(message)
        return message, list(frames)

    def listen(self, wake_fd: int) -> M | None:
        """Wait for what arrives unasked and return it, or None once `wake_fd` is readable.

        Raises Gone where the host goes away or ends the link.
        """
        try:
            if not self.connection.wait(wake_fd):
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
        last: list[Buffer] = []
        if goodbye is not None and self._conversation.is_open:
            self._conversation.said(goodbye)
            last = encode(goodbye)
        self.connection.close(last)


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
