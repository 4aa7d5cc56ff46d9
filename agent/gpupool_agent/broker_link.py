"""The socket to the broker's control port. When to dial, greet and beat is core.uplink's decision; this speaks.

agent ──AgentHello, Beat, Bye──> broker          DEALER, one header frame per message
agent <──AgentWelcome, Assign, Revoke, BeatAnswer, Failed── broker

Several brokers may be named: one serves, the others stand by. Every dial tries the next, and who serves is dialled no more.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator, Sequence

import zmq

from gpupool_wire.addresses import Address
from gpupool_wire.codec import FROM_BROKER_TO_AGENT, encode
from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.limits import MAX_HEADER_BYTES
from gpupool_wire.messages import AgentToBroker, BrokerToAgent

log = logging.getLogger(__name__)

HIGH_WATER = 10_000
#: A goodbye may take this long to leave when the agent stops.
BYE_LINGER_MS = 300


class BrokerLink:
    """A DEALER socket that can be dialled anew. Used by one thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], brokers: Sequence[Address]) -> None:
        self._context = context
        self._turns = itertools.cycle(brokers)
        #: The one dialled last.
        self.broker = brokers[0]
        self.socket: zmq.Socket[bytes] | None = None

    def dial(self) -> None:
        """Drop the socket with what is queued in it, and connect a fresh one to the next broker."""
        self.close()
        self.broker = next(self._turns)
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = HIGH_WATER
        socket.maxmsgsize = MAX_HEADER_BYTES
        socket.ipv6 = ":" in self.broker.host
        socket.heartbeat_ivl, socket.heartbeat_timeout = 1_000, 3_000
        socket.reconnect_ivl, socket.reconnect_ivl_max = 50, 1_000
        if self.broker.key:
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
            socket.curve_serverkey = bytes.fromhex(self.broker.key)
        socket.connect(self.broker.zmq)
        self.socket = socket

    def send(self, message: AgentToBroker) -> None:
        """Send, or drop where the broker does not read: the next greeting tells it everything."""
        if self.socket is not None:
            with contextlib.suppress(zmq.Again):
                self.socket.send_multipart(encode(message), zmq.NOBLOCK)

    def messages(self, at_most: int) -> Iterator[BrokerToAgent]:
        """Yield what has arrived; what is malformed is logged and skipped. Ends where the socket is dialled anew."""
        socket = self.socket
        for _ in range(at_most):
            if socket is None or socket is not self.socket:
                return
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message, _frames = FROM_BROKER_TO_AGENT.decode(frames)
            except RemoteProtocolError as error:
                log.warning("the broker sent something this agent does not understand: %s", error, extra={"action": "skipped"})
            else:
                yield message

    def close(self, *, linger: bool = False) -> None:
        """Close the socket; with `linger`, what is queued may still leave for a moment."""
        if self.socket is not None:
            self.socket.close(BYE_LINGER_MS if linger else 0)
            self.socket = None
