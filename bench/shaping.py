"""A link of a given speed and round trip, as a TCP relay between two addresses: what a slow network would do to a pool.

    python -m bench.shaping --mbit 1000 --trip-ms 0.6 LISTEN=TARGET...        addresses as HOST:PORT

    caller ──recv──> the link is free again at ... ──queue──> wait until it has arrived ──send──> target      (and back)

All connections of one direction share its speed. A chunk leaves when the link is free, and arrives half a round trip later. The
kernel's own shaper (tc netem) does this better, where there is one. The relay takes time of the machine's cores, which its
contenders lack: below about 1 Gbit/s that is little, at 10 Gbit/s it is not, so its figures there are upper bounds of a loss.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import socket
import threading
import time

#: What a link carries in this time is one chunk (seconds): finer than a round trip, and coarse enough to wake up for.
GRAIN_S = 0.0005
MIN_CHUNK, MAX_CHUNK = 4_096, 262_144
#: Chunks in flight in one direction of one connection: more than any of the links here holds.
IN_FLIGHT = 64


class Direction:
    """One direction of the link, which all connections share."""

    def __init__(self, bytes_per_s: float, delay_s: float) -> None:
        self.chunk = int(min(MAX_CHUNK, max(MIN_CHUNK, bytes_per_s * GRAIN_S)))
        self._bytes_per_s = bytes_per_s
        self._delay_s = delay_s
        self._free_at = 0.0
        self._lock = threading.Lock()

    def arrival(self, nbytes: int) -> float:
        """Put so many bytes on the link; return when they arrive (perf_counter, seconds)."""
        with self._lock:
            self._free_at = max(time.perf_counter(), self._free_at) + nbytes / self._bytes_per_s
            return self._free_at + self._delay_s


def carry(source: socket.socket, sink: socket.socket, direction: Direction) -> None:
    """Carry one direction of one connection until it ends."""
    chunks: queue.Queue[tuple[float, bytes]] = queue.Queue(IN_FLIGHT)
    threading.Thread(target=deliver, args=(chunks, sink), daemon=True).start()
    with contextlib.suppress(OSError):
        while data := source.recv(direction.chunk):
            chunks.put((direction.arrival(len(data)), data))
    chunks.put((0.0, b""))


def deliver(chunks: queue.Queue[tuple[float, bytes]], sink: socket.socket) -> None:
    """Send what has arrived; the empty chunk is the end."""
    is_open = True
    while True:
        arrives_at, data = chunks.get()
        if not data:
            break
        wait_s = arrives_at - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        try:
            if is_open:
                sink.sendall(data)
        except OSError:
            is_open = False  # the caller's side is read on, so that its end is seen
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def serve(listener: socket.socket, target: tuple[str, int], up: Direction, down: Direction) -> None:
    """Take connections and relay them. One whose target is not there is closed, as if it were refused."""
    while True:
        caller, _ = listener.accept()
        try:
            host = socket.create_connection(target)
        except OSError:
            caller.close()
            continue
        for end in (caller, host):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=carry, args=(caller, host, up), daemon=True).start()
        threading.Thread(target=carry, args=(host, caller, down), daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbit", type=float, required=True)
    parser.add_argument("--trip-ms", type=float, required=True)
    parser.add_argument("routes", nargs="+", metavar="LISTEN=TARGET")
    arguments = parser.parse_args()
    up, down = (Direction(arguments.mbit * 1e6 / 8, arguments.trip_ms / 2000) for _ in range(2))
    for route in arguments.routes:
        listen, _, target = route.partition("=")
        listener = socket.create_server(address(listen))
        threading.Thread(target=serve, args=(listener, address(target), up, down), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
