"""The other end of a bare pyzmq round trip: a process with a ROUTER, and nothing of the pool's."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import zmq


def echo(port: Connection) -> None:
    """Send back what arrives, a byte for what is only to be stored, so many bytes for what is to be fetched."""
    socket = zmq.Context().socket(zmq.ROUTER)
    port.send(socket.bind_to_random_port("tcp://127.0.0.1"))
    stored: dict[int, bytes] = {}
    while True:
        peer, kind, payload = socket.recv_multipart(copy=False)
        if kind.bytes == b"s":
            socket.send_multipart([peer, b"x"])
        elif kind.bytes == b"f":
            size = int(payload.bytes)
            socket.send_multipart([peer, stored.setdefault(size, bytes(size))], copy=False)
        else:
            socket.send_multipart([peer, kind, payload])


class PingPong:
    """Asks such a process."""

    def __init__(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=echo, args=(theirs,), daemon=True)
        self._process.start()
        self._socket = zmq.Context().socket(zmq.DEALER)
        self._socket.connect(f"tcp://127.0.0.1:{ours.recv()}")

    def ask(self, parts: Sequence[Any]) -> None:
        """Send a message and receive its answer; large parts are not copied on the way to libzmq, nor from there."""
        is_large = len(parts[-1]) > zmq.COPY_THRESHOLD
        self._socket.send_multipart(parts, copy=not is_large)
        self._socket.recv_multipart(copy=parts[0] not in (b"s", b"f"))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()
        self._socket.close(0)
