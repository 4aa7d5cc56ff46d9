"""Plays the agents of many nodes with null devices: they greet, beat, take slices, and say what those would have used.

python -m bench.programs.played_nodes URL NODES DEVICES_A_NODE < join tokens, one a line

Prints a line when all have joined, and goes on until its input ends. Nothing is executed: what slices use is made up.
"""

from __future__ import annotations

import math
import random
import sys
import threading
import time
from collections.abc import Iterator

import zmq

from gpupool_wire.codec import FROM_BROKER_TO_AGENT, encode
from gpupool_wire.limits import BEAT_S
from gpupool_wire.messages import AgentHello, Assign, Assignment, Beat, DeviceInfo, Revoke, Shrink, Shrunk, SliceUse
from gpupool_wire.messages.common import PROTOCOL_VERSION
from gpupool_wire.units import MIB

MEMORY_MIB = 81_920
ZONES, RACKS = 4, 20


class PlayedNode:
    """One agent: its socket, and the slices it was given."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], url: str, join: str, number: int, devices: int) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger, self.socket.sndhwm, self.socket.rcvhwm = 0, 10_000, 10_000
        self.socket.connect(url)
        self.name = f"node-{number + 1:04}"
        self.slices: dict[str, Assignment] = {}
        self._seq = 0
        self._told_at = time.monotonic()
        self._habits: dict[str, tuple[float, float, float]] = {}
        labels = {"zone": f"z{number % ZONES + 1}", "rack": f"r{number % RACKS + 1:02}"}
        infos = [DeviceInfo(device=f"null{i}", kind="null", model="null-80", memory_mib=MEMORY_MIB) for i in range(devices)]
        hello = AgentHello(
            version=PROTOCOL_VERSION, node=self.name, token=join, devices=infos, door="tcp://127.0.0.1:1", labels=labels
        )
        self.socket.send_multipart(encode(hello))

    def hear(self) -> None:
        """Take what the broker says."""
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            message, _ = FROM_BROKER_TO_AGENT.decode(frames)
            match message:
                case Assign():
                    self.slices[message.slice.slice_id] = message.slice
                case Revoke():
                    self.slices.pop(message.slice_id, None)
                case Shrink():
                    self.socket.send_multipart(encode(Shrunk(slice_id=message.slice_id, request_id=message.request_id)))

    def beat(self, now: float) -> None:
        """Say that the node lives, and what its slices used."""
        self._seq += 1
        use = list(self._use(now, now - self._told_at))
        self._told_at = now
        self.socket.send_multipart(encode(Beat(seq=self._seq, use=use)))

    def _use(self, now: float, span_s: float) -> Iterator[SliceUse]:
        for slice_ in self.slices.values():
            level, phase, memory = self._habit(slice_.slice_id)
            if not level or slice_.is_paused:
                continue
            part = min(1.0, level + 0.12 * math.sin(now / 40 + phase))
            achieved = int(slice_.compute_pct * 1000 * part)
            yield SliceUse(
                slice_id=slice_.slice_id,
                epoch=slice_.epoch,
                device_ns=int(span_s * achieved * 10_000),
                throttled_ns=int(span_s * 1e9 * 0.2) if part > 0.95 else 0,
                calls=int(achieved / 100),
                memory_bytes=int(slice_.memory_mib * MIB * memory),
                achieved_millipct=achieved,
                throttled_10s_ms=2_000 if part > 0.95 else 0,
            )

    def _habit(self, slice_id: str) -> tuple[float, float, float]:
        """Return how much of its share a slice uses, where in its slow wave it is, and how much of its memory it uses."""
        if slice_id not in self._habits:
            chance = random.Random(slice_id)
            level = chance.choice((0.0, 0.35, 0.6, 0.85, 0.97))
            self._habits[slice_id] = level, chance.random() * math.tau, 0.3 + 0.6 * chance.random()
        return self._habits[slice_id]


def play(url: str, joins: list[str], nodes: int, devices: int, stop: threading.Event) -> None:
    """Play the nodes until told to stop; each beats once a second, evenly spread."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    played = [PlayedNode(context, url, joins[number], number, devices) for number in range(nodes)]
    for node in played:
        node.socket.poll(30_000)
        node.hear()
    print("joined", flush=True)
    next_at, turn = time.monotonic(), 0
    while not stop.is_set():
        now = time.monotonic()
        while now >= next_at:
            next_at += BEAT_S / nodes
            node = played[turn % nodes]
            turn += 1
            node.hear()
            node.beat(now)
        stop.wait(max(0.0005, next_at - time.monotonic()))
    context.destroy(0)


def main() -> None:
    """Play until the input ends."""
    url, nodes, devices = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    joins = [sys.stdin.readline().strip() for _ in range(nodes)]
    stop = threading.Event()
    playing = threading.Thread(target=play, args=(url, joins, nodes, devices, stop))
    playing.start()
    sys.stdin.read()
    stop.set()
    playing.join()


if __name__ == "__main__":
    main()
