"""The channel between agent and worker: messages keep their borders, ends are seen, rubbish is an error."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from gpupool_agent.channel import (
    Admit,
    AgentEnd,
    Alive,
    ChannelClosed,
    Fault,
    Grant,
    Settle,
    Stop,
    ToWorker,
    Want,
    WorkerEnd,
    channel_pair,
    worker_end,
)
from gpupool_wire.errors import MAX_DETAILS, ErrorInfo, GpupoolError, RemoteProtocolError


@pytest.fixture
def ends() -> Iterator[tuple[AgentEnd, WorkerEnd]]:
    agent, theirs = channel_pair()
    worker = worker_end(os.dup(theirs.fileno()))
    theirs.close()
    yield agent, worker
    agent.close()
    worker.close()


def test_messages_arrive_one_by_one_in_order(ends: tuple[AgentEnd, WorkerEnd]) -> None:
    agent, worker = ends
    assert agent.receive() is None
    worker.send(Want())
    worker.send(Settle(seq=1, used_ns=2, more=True))
    worker.send(Alive())
    assert [agent.receive() for _ in range(4)] == [Want(), Settle(seq=1, used_ns=2, more=True), Alive(), None]


def test_the_worker_hears_what_the_agent_says(ends: tuple[AgentEnd, WorkerEnd]) -> None:
    agent, worker = ends
    assert worker.receive_now() is None
    said: list[ToWorker] = [Admit(ticket=b"t" * 16, link_id="l", holder=True), Grant(seq=1, quantum_ns=5), Stop()]
    assert all(agent.send(message) for message in said)
    assert [worker.receive() for _ in said] == said


def test_a_closed_end_is_seen_at_the_other(ends: tuple[AgentEnd, WorkerEnd]) -> None:
    agent, worker = ends
    worker.send(Want())
    worker.close()
    assert agent.receive() == Want()
    with pytest.raises(ChannelClosed):
        agent.receive()
    with pytest.raises(ChannelClosed):
        agent.send(Stop())


def test_an_agent_is_not_blocked_by_a_worker_that_does_not_read(ends: tuple[AgentEnd, WorkerEnd]) -> None:
    agent, _ = ends
    assert any(not agent.send(Grant(seq=seq, quantum_ns=1)) for seq in range(100_000))


@pytest.mark.parametrize("packet", [b"\xc1", b"\x91\xa4nope", b"\x91\xa5grant", b"\x93\xa5grant\xa1x\x01", b"\xff" * 2000])
def test_what_is_no_message_is_an_error_and_the_channel_goes_on(ends: tuple[AgentEnd, WorkerEnd], packet: bytes) -> None:
    agent, worker = ends
    for here, there in ((agent, worker), (worker, agent)):
        with socket.socket(fileno=os.dup(here.fileno())) as raw:
            raw.send(packet)
        with pytest.raises(RemoteProtocolError):
            there.receive()
    worker.send(Want())
    assert agent.receive() == Want()


def test_each_direction_refuses_the_others_messages(ends: tuple[AgentEnd, WorkerEnd]) -> None:
    agent, worker = ends
    agent._send(Want())
    with pytest.raises(RemoteProtocolError):
        worker.receive()


def test_the_largest_error_fits_a_packet(ends: tuple[AgentEnd, WorkerEnd]) -> None:
    agent, worker = ends
    details = {f"detail_{number}": "x" * 200 for number in range(MAX_DETAILS)}
    worker.send(Fault(error=GpupoolError("é" * 100_000, **details).to_info()))
    fault = agent.receive()
    assert isinstance(fault, Fault)
    assert agent.send(Stop(error=ErrorInfo(code="x", message="y")))
