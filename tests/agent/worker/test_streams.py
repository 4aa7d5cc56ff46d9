"""Channels of clients on the worker's own host: Unix sockets beside the port."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from gpupool_agent.standalone import StandaloneWorker
from gpupool_agent.streams import STRANGER_BYTES
from gpupool_wire import messages as m
from gpupool_wire.errors import LocalProtocolError, NotAuthorized
from gpupool_wire.stream import prefix_of
from tests.agent.worker.conftest import Client

X = np.arange(16, dtype=np.float32)
LARGE = np.arange(1_500_000, dtype=np.float32)


@pytest.mark.parametrize("x", [X, LARGE, X[:0]], ids=["small", "large", "empty"])
def test_a_call_gives_what_it_gives_at_the_port(near: Any, models: Any, x: Any) -> None:
    client = near()
    session_id = client.open(models.doubling()).session_id
    for _ in range(3):
        assert np.array_equal(client.run(session_id, {"x": x})[0], x + x)
    assert np.array_equal(near.first.run(session_id, {"x": x})[0], x + x)


def test_a_client_that_does_not_read_keeps_nobody_waiting(near: Any, models: Any) -> None:
    idle, other = near(), near()
    session_id = idle.open(models.doubling()).session_id
    idle.send_run(session_id, {"x": LARGE})
    for _ in range(20):
        assert np.array_equal(other.run(session_id, {"x": X})[0], X + X)
    assert np.array_equal(idle.result()[0], LARGE + LARGE)


def test_calls_at_the_port_and_on_streams_do_not_wait_for_one_another(
    near: Any, shared_worker: StandaloneWorker, connect: Callable[..., Client], models: Any
) -> None:
    """What is told of one kind of channel must not hide what there is on the other."""
    clients = [*(near() for _ in range(3)), *(connect(shared_worker, shared_worker.admit(f"port-{n}")) for n in range(3))]
    sessions = [client.open(models.doubling()).session_id for client in clients]
    slowest_s: list[float] = []

    def drive(client: Client, session_id: int) -> None:
        for number in range(300):
            x = np.full(16, number, np.float32)
            start = time.monotonic()
            assert np.array_equal(client.run(session_id, {"x": x})[0], x + x)
            slowest_s.append(time.monotonic() - start)

    with ThreadPoolExecutor(len(clients)) as threads:
        for _ in threads.map(drive, clients, sessions):
            pass
    # A message that is overlooked lies until the worker's next housekeeping, which is once a second.
    assert sorted(slowest_s)[-3] < 0.5


def test_without_a_ticket_nobody_gets_in(near: Any) -> None:
    stranger = near(joined=False)
    with pytest.raises(NotAuthorized, match="admits nobody"):
        stranger.join(b"?" * 32)
    with pytest.raises(EOFError):
        stranger.receive()


def test_a_stranger_may_not_say_much(near: Any) -> None:
    stranger = near(joined=False)
    stranger.stream.sendall(prefix_of([bytes(STRANGER_BYTES + 1)]))
    answer, _ = stranger.receive()
    assert isinstance(answer, m.Failed)
    assert f"the limits are {STRANGER_BYTES}" in answer.error.message
    with pytest.raises(EOFError):
        stranger.receive()


def test_what_is_no_message_ends_the_stream_and_nothing_else(near: Any, models: Any) -> None:
    garbled, other = near(), near()
    garbled.stream.sendall(b"\xff" * 100)
    assert isinstance(garbled.receive()[0], m.Failed)
    with pytest.raises(EOFError):
        garbled.receive()
    assert np.array_equal(other.run(other.open(models.doubling()).session_id, {"x": X})[0], X + X)


def test_a_stream_that_breaks_off_in_the_middle_of_a_message_ends_nothing_else(near: Any, models: Any) -> None:
    broken, other = near(), near()
    session_id = other.open(models.doubling()).session_id
    broken.stream.sendall(prefix_of([bytes(10), bytes(1_000_000)]) + bytes(200_000))
    broken.close()
    assert np.array_equal(other.run(session_id, {"x": X})[0], X + X)


def test_two_calls_at_once_on_one_stream_are_refused(near: Any, models: Any) -> None:
    client = near()
    session_id = client.open(models.slow()).session_id
    x = np.eye(640, dtype=np.float32)
    client.send_run(session_id, {"x0": x})
    client.send_run(session_id, {"x0": x})
    with pytest.raises(LocalProtocolError, match="one call at a time"):
        client.result()
    assert np.array_equal(client.result()[0], x)


def test_streams_end_with_the_last_channel_that_beats(near: Any) -> None:
    client = near()
    near.first.send(m.Leave())
    with pytest.raises(EOFError):
        client.receive()


def test_a_stream_is_not_a_links_first_channel(near: Any, shared_worker: StandaloneWorker) -> None:
    client = near(joined=False)
    with pytest.raises(LocalProtocolError, match="join at the worker's port first"):
        client.join(shared_worker.admit("nobody yet"))
