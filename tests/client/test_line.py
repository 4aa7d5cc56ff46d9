from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpupool.line import Gone, Line, Silent
from gpupool_wire import messages as m
from gpupool_wire.codec import FROM_WORKER
from gpupool_wire.conversation import CLIENT_AND_WORKER
from gpupool_wire.errors import LocalProtocolError, NotFound, RemoteProtocolError

JOIN = m.Join(version=m.PROTOCOL_VERSION, ticket=b"t" * 16)


@pytest.fixture
def line(fakes: Any) -> Iterator[Any]:
    line = Line(fakes.worker.address, CLIENT_AND_WORKER, FROM_WORKER)
    yield line
    line.close()


def test_it_greets_then_asks(line: Any) -> None:
    assert line.greet(JOIN, m.Joined, 5).kind == "cpu"
    answer, frames = line.ask(m.AskUsage(call_id=3), timeout_s=5)
    assert isinstance(answer, m.Usage)
    assert answer.call_id == 3
    assert frames == []
    assert line.is_open


def test_asking_before_greeting_is_our_own_fault(line: Any) -> None:
    with pytest.raises(LocalProtocolError):
        line.ask(m.AskUsage(call_id=3), timeout_s=5)


def test_probes_in_between_are_passed_over(line: Any, fakes: Any, eventually: Callable[..., None]) -> None:
    line.greet(JOIN, m.Joined, 5)
    fakes.worker.to_say.extend([m.Probe()] * 5)
    eventually(lambda: not fakes.worker.to_say)
    assert isinstance(line.ask(m.AskUsage(call_id=3), timeout_s=5)[0], m.Usage)


def test_a_refused_question_leaves_it_open(line: Any) -> None:
    line.greet(JOIN, m.Joined, 5)
    with pytest.raises(NotFound, match="there is no session 9"):
        line.ask(m.Run(call_id=4, session_id=9, feed=[]), timeout_s=5)
    assert line.is_open


def test_an_answer_to_another_question_closes_it(line: Any, fakes: Any) -> None:
    line.greet(JOIN, m.Joined, 5)

    def confuse(worker: Any) -> None:
        for peer in list(worker.peers):
            worker.send(peer, m.Pong(call_id=99))

    fakes.worker.before_run = confuse
    with pytest.raises(RemoteProtocolError, match="answered call 99 where 4 was asked"):
        line.ask(m.Run(call_id=4, session_id=9, feed=[]), timeout_s=5)
    assert not line.is_open


def test_silence_closes_it(line: Any, fakes: Any) -> None:
    line.greet(JOIN, m.Joined, 5)
    fakes.worker.before_run = lambda worker: worker.stopping.wait(1)
    with pytest.raises(Silent, match="did not answer in time"):
        line.ask(m.Run(call_id=4, session_id=9, feed=[]), timeout_s=0.1)
    assert not line.is_open


def test_the_end_of_the_host_is_noticed_at_once(line: Any, fakes: Any) -> None:
    line.greet(JOIN, m.Joined, 5)
    fakes.worker.before_run = lambda worker: worker.stopping.set()
    start = time.monotonic()
    with pytest.raises(Gone, match="the connection broke"):
        line.ask(m.Run(call_id=4, session_id=9, feed=[]))
    assert time.monotonic() - start < 2
    fakes.worker.kill()


def test_asking_a_host_that_has_gone_does_not_block(line: Any, fakes: Any) -> None:
    line.greet(JOIN, m.Joined, 5)
    fakes.worker.kill()
    with pytest.raises(Gone):
        line.ask(m.AskUsage(call_id=4))
    line.close()


def test_nobody_there_is_gone_and_not_waited_for(fakes: Any) -> None:
    address = fakes.worker.address
    fakes.worker.kill()
    line = Line(address, CLIENT_AND_WORKER, FROM_WORKER)
    with pytest.raises(Gone, match="refused"):
        line.greet(JOIN, m.Joined, 5)


def test_goodbye_is_the_last_word(line: Any, fakes: Any, eventually: Callable[..., None]) -> None:
    line.greet(JOIN, m.Joined, 5)
    line.close(goodbye=m.Leave())
    eventually(lambda: fakes.worker.left)
    line.close()


def test_a_message_that_is_too_large_to_say_does_not_harm_it(line: Any) -> None:
    line.greet(JOIN, m.Joined, 5)
    with pytest.raises(LocalProtocolError, match="split it"):
        line.ask(m.Run(call_id=4, session_id=9, feed=[]), [b""] * 5000)
    assert isinstance(line.ask(m.AskUsage(call_id=5), timeout_s=5)[0], m.Usage)


def test_it_says_what_it_is(line: Any, fakes: Any) -> None:
    assert repr(line) == f"<Line to {fakes.worker.address}, new>"
