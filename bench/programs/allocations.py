"""Plays the nodes and the callers of a pool against a broker: null devices, and requests for slices over the control port.

python -m bench.programs.allocations URL TENANT_TOKEN NODES SECONDS [RATE] < join tokens, one a line

Prints one line of JSON: requests answered, seconds, latencies. RATE (per second) sends at that pace whatever the answers do (open
loop: a request is timed from when it was due); without it WINDOW requests are always under way.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections import deque

import zmq

from gpupool_wire.codec import FROM_BROKER, encode
from gpupool_wire.limits import BEAT_S
from gpupool_wire.messages import AgentHello, Beat, DeviceInfo, Failed, Hello, RequestSlice, SliceGranted, Welcome
from gpupool_wire.messages.common import PROTOCOL_VERSION
from gpupool_wire.units import Hold

DEVICES_A_NODE = 64
MEMORY_MIB = 65_536
#: Requests under way at a time where no rate is asked for.
WINDOW = 256
#: The first requests are not counted: SQLite's file and Python's caches are cold.
WARM_S = 1.0


def connect(context: zmq.Context[zmq.Socket[bytes]], url: str) -> zmq.Socket[bytes]:
    """Return a socket to the broker's control port."""
    socket = context.socket(zmq.DEALER)
    socket.linger, socket.sndhwm, socket.rcvhwm = 0, 100_000, 1_000_000
    socket.connect(url)
    return socket


class Nodes:
    """Agents that greet, beat and take what they are told without a look at it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], url: str, joins: list[str]) -> None:
        self.sockets = []
        devices = [DeviceInfo(device=f"null{i}", kind="null", model="null", memory_mib=MEMORY_MIB) for i in range(DEVICES_A_NODE)]
        for number, join in enumerate(joins):
            socket = connect(context, url)
            hello = AgentHello(
                version=PROTOCOL_VERSION, node=f"node-{number}", token=join, devices=devices, door="tcp://127.0.0.1:1"
            )
            socket.send_multipart(encode(hello))
            socket.recv_multipart()
            self.sockets.append(socket)
        self._seq = 0
        self._beat_at = time.perf_counter()

    def turn(self, now: float) -> None:
        """Let the next node beat where it is due, each once a second, and throw away what it was told."""
        while now >= self._beat_at:
            self._beat_at += BEAT_S / len(self.sockets)
            self._seq += 1
            socket = self.sockets[self._seq % len(self.sockets)]
            socket.send_multipart(encode(Beat(seq=self._seq)))
            try:
                while True:
                    socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                pass


class Callers:
    """One connection on which requests are asked and their answers timed."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], url: str, token: str) -> None:
        self.socket = connect(context, url)
        self.socket.send_multipart(encode(Hello(version=PROTOCOL_VERSION, token=token, name="bench")))
        welcome, _ = FROM_BROKER.decode(self.socket.recv_multipart())
        if not isinstance(welcome, Welcome):
            raise SystemExit(f"the broker does not want us: {welcome}")
        self._run = uuid.uuid4().hex[:8]
        self._due: dict[int, float] = {}
        self._asked = 0
        self.latencies: list[float] = []
        self.refused: deque[str] = deque(maxlen=3)

    @property
    def under_way(self) -> int:
        """How many requests have no answer yet."""
        return len(self._due)

    def ask(self, due: float) -> None:
        """Send one request that was due then."""
        self._asked += 1
        self._due[self._asked] = due
        request = RequestSlice(
            call_id=self._asked,
            request_id=f"{self._run}-{self._asked}",
            compute_pct=1 + self._asked % 3,
            memory_mib=64 * (1 + self._asked % 5),
            hold=Hold.HELD,
            kind="null",
        )
        self.socket.send_multipart(encode(request))

    def hear(self) -> None:
        """Take the answers that have arrived."""
        while True:
            try:
                answer, _ = FROM_BROKER.decode(self.socket.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            if isinstance(answer, SliceGranted):
                self.latencies.append(time.perf_counter() - self._due.pop(answer.call_id))
            elif isinstance(answer, Failed):
                self._due.pop(answer.call_id, None)
                self.refused.append(answer.error.message)


def run(nodes: Nodes, callers: Callers, seconds: float, rate: float | None) -> float:
    """Ask for so long; return the seconds that were counted."""
    poller = zmq.Poller()
    poller.register(callers.socket, zmq.POLLIN)
    start = time.perf_counter()
    counted_from, sent = start + WARM_S, 0
    while (now := time.perf_counter()) < start + WARM_S + seconds:
        if counted_from and now >= counted_from:
            callers.latencies.clear()
            counted_from, start_counting = 0.0, now
        nodes.turn(now)
        if rate is None:
            while callers.under_way < WINDOW:
                callers.ask(now)
        else:
            while start + sent / rate <= now:
                callers.ask(start + sent / rate)
                sent += 1
        poller.poll(1)
        callers.hear()
    return time.perf_counter() - start_counting


def main() -> None:
    url, token, count, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    rate = float(sys.argv[5]) if len(sys.argv) > 5 else None
    joins = [line.strip() for line in sys.stdin][:count]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    nodes, callers = Nodes(context, url, joins), Callers(context, url, token)
    took = run(nodes, callers, seconds, rate)
    row = sorted(callers.latencies)
    told = {
        "granted": len(row),
        "seconds": took,
        "p50_ms": row[len(row) // 2] * 1e3 if row else None,
        "p99_ms": row[int(len(row) * 0.99)] * 1e3 if row else None,
        "refused": list(callers.refused),
    }
    print(json.dumps(told), flush=True)
    os._exit(0)  # closing some hundred sockets in order would take longer than it is worth


if __name__ == "__main__":
    main()
