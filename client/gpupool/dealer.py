"""A connection over ZeroMQ: one DEALER socket, and its monitor, which tells when the host is gone."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from gpupool import forks
from gpupool.gone import Gone, Silent
from gpupool_wire.addresses import parse_address
from gpupool_wire.limits import BEAT_S, CLIENT_LOST_S, MAX_FRAME_BYTES
from gpupool_wire.tensors import Buffer

#: Frames that wait in a socket. A question is one message, so this only bounds the probes that an unread line piles up.
QUEUED_FRAMES: Final = 1_000
#: How long a TCP connection and its greeting may take before the host counts as gone.
CONNECT_MS: Final = 3_000
#: How often a line that waits for an answer looks whether its host is gone: nothing beside a failover, nothing beside a call.
LOOK_MS: Final = 50
_NOW: Final = int(zmq.DONTWAIT)
_MORE: Final = int(zmq.DONTWAIT | zmq.SNDMORE)
#: What the monitor reports that means: this connection carries nothing any more.
_GONE = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


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


class Dealer:
    """A Connection (see gpupool.line) to an address of the pool, encrypted where the address carries a key."""

    def __init__(self, address: str) -> None:
        self.address = address
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
        return f"<Dealer to {self.address}>"

    def send(self, parts: Sequence[Buffer]) -> None:
        """Hand a message to libzmq. It never waits: a DEALER whose connection has gone would, for ever."""
        send, last = self._socket.send, len(parts) - 1
        try:
            for number, part in enumerate(parts):
                send(part, _NOW if number == last else _MORE, copy=len(part) < zmq.COPY_THRESHOLD)
        except zmq.Again as error:
            raise Gone(f"{self.address} is gone: the connection broke") from error
        except zmq.ZMQError as error:
            raise Gone(f"the connection to {self.address} failed: {error}") from error

    def receive(self, deadline: float | None) -> list[Buffer]:
        """Return the next message, in the order: what has arrived, then whether the host is gone, then the clock."""
        receive = self._socket.recv
        try:
            while True:
                try:
                    part = receive(copy=False)
                    break
                except zmq.Again:
                    self._look(deadline)
            buffers: list[Buffer] = [part.buffer]
            while part.more:
                part = receive(copy=False)
                buffers.append(part.buffer)
        except zmq.ZMQError as error:
            raise Gone(f"the connection to {self.address} failed: {error}") from error
        return buffers

    def _look(self, deadline: float | None) -> None:
        # Looked at in between and not polled with every message, which would cost each call more than it is worth.
        if zmq.zmq_poll([(self._monitor, zmq.POLLIN)], 0):
            raise Gone(f"{self.address} is gone: {self._why_gone()}") from None
        if deadline is not None and time.monotonic() >= deadline:
            raise Silent(f"{self.address} did not answer in time") from None

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

    def wait(self, wake_fd: int) -> bool:
        """Wait until something arrives, or the host is gone, and return True; False once `wake_fd` is readable."""
        ready = zmq.zmq_poll([*self._waiting, (wake_fd, zmq.POLLIN)], -1)
        return all(source != wake_fd for source, _ in ready)

    def close(self, last: Sequence[Buffer] = ()) -> None:
        """Close it, after sending `last`."""
        if last:
            # The last word is worth a moment: without it the host would learn of the end only from the broken connection.
            self._socket.linger = 200
            with contextlib.suppress(zmq.ZMQError):
                self._socket.send_multipart(list(last), zmq.DONTWAIT)
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close()
