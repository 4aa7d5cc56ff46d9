"""What networks, strangers and stopped processes do to a whole pool."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

import gpupool
from gpupool_wire.addresses import parse_address
from gpupool_wire.errors import LeaseLost
from tests.system.relay import Relay

pytestmark = pytest.mark.system

X = np.arange(6, dtype=np.float32)
#: Elsewhere on this machine: what clients are told of, while the agent itself listens at 127.0.0.1.
ELSEWHERE = "127.0.0.2"


@pytest.fixture
def relays(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    monkeypatch.setenv("GPUPOOL_LOCAL_STREAM", "off")  # it would go past the relays
    with ExitStack() as opened:
        yield opened


def free_ports(count: int) -> list[int]:
    """Return ports in a row that nobody listens at."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        ports = list(range(first, first + count))
        try:
            for port in ports:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return ports


class Reached:
    """A pool whose agent clients reach through relays alone."""

    def __init__(self, pool: Any, relays: ExitStack) -> None:
        pool.agents.pop("one").stop()
        door, *workers = free_ports(4)
        options = ["--bind", f"127.0.0.1:{door}", "--advertise", f"{ELSEWHERE}:{door}"]
        pool.start_agent("one", *options, "--worker-ports", f"{workers[0]}-{workers[-1]}")
        self.relays = [relays.enter_context(Relay(("127.0.0.1", port), host=ELSEWHERE, port=port)) for port in (door, *workers)]

    def every(self, what: str) -> None:
        for relay in self.relays:
            getattr(relay, what)()


def test_a_broken_connection_costs_a_delay_and_not_the_slice(own_pool: Any, relays: ExitStack, doubling: bytes) -> None:
    reached = Reached(own_pool, relays)
    with own_pool.connect() as pool, pool.slice(10, "64MiB") as held:
        model = held.open_model(doubling)
        for _ in range(5):
            reached.every("cut")
            assert np.array_equal(model.run({"x": X})[0], X + X)
        assert own_pool.slices()[0]["slice_id"] == held.slice_id


def test_lost_packets_shorter_than_the_heartbeat_delay_a_call(own_pool: Any, relays: ExitStack, doubling: bytes) -> None:
    reached = Reached(own_pool, relays)
    with own_pool.connect() as pool, pool.slice(10, "64MiB") as held:
        model = held.open_model(doubling)
        answers: list[Any] = []
        reached.every("stall")
        caller = threading.Thread(target=lambda: answers.append(model.run({"x": X})[0]))
        start = time.monotonic()
        caller.start()
        caller.join(1.0)
        assert caller.is_alive()
        reached.every("mend")
        caller.join(10)
        assert np.array_equal(answers[0], X + X)
        assert time.monotonic() - start < 3


def test_a_client_cut_off_for_long_loses_its_slice_and_is_told(
    own_pool: Any, relays: ExitStack, doubling: bytes, until: Any
) -> None:
    reached = Reached(own_pool, relays)
    with own_pool.connect() as pool, pool.slice(10, "64MiB") as held:
        model = held.open_model(doubling)
        reached.every("stall")
        freed_s = until(lambda: not own_pool.slices(), 20)
        assert freed_s < 6
        reached.every("mend")
        with pytest.raises(LeaseLost, match="has ended"):
            model.run({"x": X})


def test_an_agent_cut_off_from_its_broker_is_noticed_and_its_clients_go_on(
    own_pool: Any, relays: ExitStack, doubling: bytes, until: Any
) -> None:
    host, port = own_pool.url.removeprefix("tcp://").split(":")
    relay = relays.enter_context(Relay((host, int(port))))
    own_pool.agents.pop("one").stop()
    own_pool.start_agent("one", "--broker", f"tcp://{relay.address[0]}:{relay.address[1]}")
    with own_pool.connect() as pool, pool.slice(10, "64MiB") as held:
        model = held.open_model(doubling)
        relay.stall()

        def state() -> str:
            assert np.array_equal(model.run({"x": X})[0], X + X)
            return str(next(row["state"] for row in own_pool.rest.get("/nodes") if row["node"] == "one"))

        assert until(lambda: state() == "lost", 10) < 3.5
        relay.mend()
        until(lambda: state() == "up", 20)
        until(lambda: [row["state"] for row in own_pool.slices()] == ["live"], 10)
        assert np.array_equal(model.run({"x": X})[0], X + X)
        assert held.slice_id == own_pool.slices()[0]["slice_id"]


def test_a_worker_stopped_in_its_turn_delays_the_others_and_is_replaced(
    own_pool: Any, slow_model: bytes, doubling: bytes, until: Any
) -> None:
    x = np.ones((768, 768), np.float32)
    with own_pool.connect() as pool, pool.slice(50, "512MiB") as stuck, ExitStack() as later:
        slow = stuck.open_model(slow_model)
        (mine,) = own_pool.workers()
        quick = later.enter_context(pool.slice(50, "256MiB")).open_model(doubling)
        expected = slow.run({"x": x})[0]
        answers: list[Any] = []
        is_stopped = threading.Event()

        def call() -> None:
            while not is_stopped.is_set():
                answers.append(slow.run({"x": x})[0])

        caller = threading.Thread(target=call)
        caller.start()
        until(lambda: mine.cpu_percent(0.02) > 50)  # it is in a call, and so in its turn
        os.kill(mine.pid, signal.SIGSTOP)
        is_stopped.set()
        start = time.monotonic()
        quick.run({"x": X})
        assert time.monotonic() - start < 1.5
        caller.join(30)
        assert answers
        assert all(np.array_equal(answer, expected) for answer in answers)
        assert not mine.is_running() or mine.status() == "zombie"


def test_strangers_who_say_nothing_keep_nobody_out(own_pool: Any, doubling: bytes) -> None:
    with own_pool.connect() as pool, pool.slice(10, "64MiB") as held, ExitStack() as opened:
        model = held.open_model(doubling)
        door = next(row["door"] for row in own_pool.rest.get("/nodes"))
        for url in (own_pool.url, door, held.link().worker, own_pool.http):
            host, port = url.split("://")[1].split(":")
            for _ in range(500):
                opened.enter_context(socket.create_connection((host, int(port)), timeout=10))
        assert np.array_equal(model.run({"x": X})[0], X + X)
        with own_pool.connect() as another, another.slice(10, "64MiB") as more:
            assert np.array_equal(more.open_model(doubling).run({"x": X})[0], X + X)
        assert len(own_pool.slices()) == 1


def test_a_slice_is_its_tenants_alone(own_pool: Any, doubling: bytes) -> None:
    stranger = own_pool.rest.post("/tokens", {"role": "tenant", "tenant": "stranger"})["token"]
    with own_pool.connect() as pool, pool.slice(10, "64MiB") as held:
        held.open_model(doubling)
        with gpupool.connect(own_pool.url, stranger) as other:
            with pytest.raises(gpupool.NotFound):
                other.join(held.slice_id)
            with pytest.raises(gpupool.NotFound):
                other._control.resize_slice(held.slice_id, compute_pct=1, memory_mib=None)
            with pytest.raises(gpupool.NotFound):
                other._control.release_slice(held.slice_id)
            with other.slice(10, "64MiB") as own:
                # Models of one tenant are invisible to another: the same bytes are uploaded again.
                sent = own.traffic.sent_bytes
                own.open_model(doubling)
                assert own.traffic.sent_bytes - sent > len(doubling)


def test_an_encrypted_pool_is_reached_with_its_keys_alone(own_pool: Any, doubling: bytes) -> None:
    own_pool.agents.pop("one").stop()
    own_pool.broker.stop()
    own_pool.start_broker("--encrypt")
    own_pool.environ["GPUPOOL_URL"] = own_pool.url
    assert own_pool.url.startswith("curve://")
    own_pool.start_agent("one", "--broker", own_pool.url, "--encrypt")
    with own_pool.connect() as pool, pool.slice(10, "64MiB") as held:
        assert np.array_equal(held.open_model(doubling).run({"x": X})[0], X + X)
        assert held.grant.door.startswith("curve://")
        assert held.link().worker.startswith("curve://")
    plain = f"tcp://{parse_address(own_pool.url, 0)}"
    wrong = own_pool.url.replace(parse_address(own_pool.url, 0).key, "00" * 32)
    for url in (plain, wrong):
        start = time.monotonic()
        with pytest.raises(gpupool.PoolUnreachable, match="curve://KEY@host:port"):
            gpupool.connect(url, own_pool.token)
        assert time.monotonic() - start < 8
