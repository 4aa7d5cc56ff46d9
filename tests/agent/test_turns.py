"""The agent's side of the quantum channel, over real socket pairs, with workers played by the test."""

from __future__ import annotations

import queue
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpupool_agent.channel import Alive, Grant, LinkGone, Recall, Settle, Unwant, Want, WorkerEnd, channel_pair
from gpupool_agent.supervisor import WorkerProcess
from gpupool_agent.turns import DeviceTurns, Hangs
from gpupool_wire.units import Policy

Eventually = Callable[..., Any]
MS = 1_000_000


class Player:
    """One slice's worker, played by a test."""

    def __init__(self, turns: DeviceTurns, slice_id: str) -> None:
        end, theirs = channel_pair()
        self.end = WorkerEnd(theirs)
        self._socket = theirs
        theirs.settimeout(5.0)
        process: subprocess.Popen[bytes] = subprocess.Popen.__new__(subprocess.Popen)
        process.pid, process.returncode = 0, 0
        self.worker = WorkerProcess(
            slice_id=slice_id, device="null0", end=end, process=process, scratch=Path("none"), started_ns=0
        )
        turns.watch(self.worker)

    def granted(self) -> Grant:
        """Return the next grant; what recalls the one before is passed over."""
        while isinstance(message := self.end.receive(), Recall):
            pass
        assert isinstance(message, Grant)
        return message

    def recalled(self) -> Recall:
        message = self.end.receive()
        assert isinstance(message, Recall)
        return message

    def has_heard(self) -> bool:
        """Whether anything but a recall waits to be read."""
        self._socket.setblocking(False)
        while isinstance(message := self.end.receive_now(), Recall):
            pass
        self._socket.settimeout(5.0)
        return message is not None

    def hears_within(self, seconds: float) -> bool:
        """Whether anything but a recall arrives in that time; returns as soon as it does."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._socket], [], [], left)[0] and self.has_heard():
                return True
        return False

    def settle(self, grant: Grant, *, used_ns: int = 0, more: bool = False) -> None:
        self.end.send(Settle(seq=grant.seq, used_ns=used_ns, more=more))


@pytest.fixture
def delivered() -> queue.SimpleQueue[Any]:
    return queue.SimpleQueue()


@pytest.fixture
def turns(delivered: queue.SimpleQueue[Any]) -> Iterator[DeviceTurns]:
    failures: list[Exception] = []
    turns = DeviceTurns(
        "null0",
        lambda *row: delivered.put(row),
        time.monotonic_ns,
        fail=failures.append,
        hang_ns=150 * MS,
        kill_ns=400 * MS,
    )
    turns.start()
    yield turns
    turns.stop()
    assert not failures


@pytest.fixture
def player(turns: DeviceTurns) -> Iterator[Callable[..., Player]]:
    players: list[Player] = []

    def play(slice_id: str, compute_pct: int | None = 50, policy: Policy = Policy.BURST) -> Player:
        players.append(Player(turns, slice_id))
        if compute_pct is not None:
            turns.claim(slice_id, compute_pct, policy)
        return players[-1]

    yield play
    for one in players:
        one.end.close()
    turns.stop()
    for one in players:
        one.worker.end.close()


def test_a_lone_claimant_is_granted(player: Callable[..., Player]) -> None:
    a = player("a")
    a.end.send(Want())
    assert a.granted().quantum_ns > 0


def test_one_turn_is_out_at_a_time(player: Callable[..., Player]) -> None:
    a, b = player("a"), player("b")
    a.end.send(Want())
    grant = a.granted()
    b.end.send(Want())
    assert not b.has_heard()
    a.settle(grant, used_ns=1 * MS)
    b.granted()


def test_a_want_before_the_claim_is_remembered(player: Callable[..., Player], turns: DeviceTurns) -> None:
    a = player("a", compute_pct=None)
    a.end.send(Want())
    turns.claim("a", 50, Policy.FIXED)
    assert a.granted().seq == 1


def test_who_was_alone_is_recalled_when_somebody_comes(player: Callable[..., Player]) -> None:
    a, b = player("a"), player("b")
    a.end.send(Want())
    grant = a.granted()
    b.end.send(Want())
    recall = a.recalled()
    assert recall.seq == grant.seq
    assert recall.quantum_ns < grant.quantum_ns
    a.settle(grant, more=True)
    b.granted()


def test_a_want_taken_back_is_not_granted(player: Callable[..., Player]) -> None:
    a, b = player("a"), player("b")
    a.end.send(Want())
    grant = a.granted()
    b.end.send(Want())
    b.end.send(Unwant())
    a.settle(grant, more=True)
    a.granted()
    assert not b.has_heard()


def test_a_dead_workers_turn_goes_on_at_once(player: Callable[..., Player], delivered: queue.SimpleQueue[Any]) -> None:
    a, b = player("a"), player("b")
    a.end.send(Want())
    a.granted()
    b.end.send(Want())
    started = time.monotonic()
    a.end.close()
    b.granted()
    assert time.monotonic() - started < 0.1
    assert delivered.get(timeout=5) == (a.worker, None)


def test_a_silent_holder_forfeits_and_is_reported(
    player: Callable[..., Player], turns: DeviceTurns, delivered: queue.SimpleQueue[Any]
) -> None:
    a, b = player("a"), player("b")
    a.end.send(Want())
    a.granted()
    b.end.send(Want())
    b.granted()
    assert turns.forfeits == 1
    worker, message = delivered.get(timeout=5)
    assert worker is a.worker
    assert isinstance(message, Hangs)


def test_a_holder_that_beats_keeps_its_turn(player: Callable[..., Player], turns: DeviceTurns) -> None:
    a, b = player("a"), player("b")
    a.end.send(Want())
    grant = a.granted()
    b.end.send(Want())
    for _ in range(20):
        a.end.send(Alive())
        assert not b.hears_within(0.02)
    a.settle(grant, used_ns=400 * MS)
    b.granted()
    assert turns.forfeits == 0


def test_an_announced_silence_is_no_hang(player: Callable[..., Player], turns: DeviceTurns) -> None:
    a, b = player("a"), player("b")
    a.end.send(Want())
    grant = a.granted()
    b.end.send(Want())
    a.end.send(Alive(quiet_ms=1_000))
    assert not b.hears_within(0.4)
    a.settle(grant)
    b.granted()
    assert turns.forfeits == 0


def test_whoever_comes_back_from_silence_may_want_again(player: Callable[..., Player], turns: DeviceTurns) -> None:
    a, b = player("a"), player("b")
    a.end.send(Want())
    late = a.granted()
    b.end.send(Want())
    grant = b.granted()
    a.settle(late, used_ns=200 * MS, more=True)
    b.settle(grant)
    assert a.granted().seq > grant.seq


def test_a_disclaimed_slice_loses_its_turn_but_not_its_last_words(
    player: Callable[..., Player], turns: DeviceTurns, delivered: queue.SimpleQueue[Any]
) -> None:
    a, b = player("a"), player("b")
    a.end.send(Want())
    grant = a.granted()
    b.end.send(Want())
    turns.disclaim("a")
    b.granted()
    a.settle(grant, more=True)
    gone = LinkGone(link_id="l", holder=True, reason="left")
    a.end.send(gone)
    assert delivered.get(timeout=5) == (a.worker, gone)
    assert not a.has_heard()


def test_what_a_slice_owes_outlives_its_worker(
    player: Callable[..., Player], turns: DeviceTurns, delivered: queue.SimpleQueue[Any]
) -> None:
    a = player("a", 1, Policy.FIXED)
    a.end.send(Want())
    grant = a.granted()
    assert not a.hears_within(0.1)  # it executes meanwhile, and nobody wants the device
    a.settle(grant, used_ns=100 * MS)
    a.end.close()
    assert delivered.get(timeout=5) == (a.worker, None)
    again = player("a", compute_pct=None)
    again.end.send(Want())
    # 100 ms at 1 % is ten seconds' worth: nothing is granted for a good while.
    assert not again.hears_within(0.1)


def test_standing_tells_what_was_used(player: Callable[..., Player], turns: DeviceTurns, eventually: Eventually) -> None:
    a = player("a")
    a.end.send(Want())
    grant = a.granted()
    assert not a.hears_within(0.01)  # it executes meanwhile
    a.settle(grant, used_ns=5 * MS)
    eventually(lambda: turns.standing.get("a") and turns.standing["a"].used_ns == 5 * MS)
    assert turns.standing["a"].granted_pct == 50


def test_rubbish_from_a_worker_ends_it(player: Callable[..., Player], delivered: queue.SimpleQueue[Any]) -> None:
    a = player("a")
    a._socket.send(b"rubbish")
    worker, message = delivered.get(timeout=5)
    assert worker is a.worker
    assert isinstance(message, Hangs)


def test_a_thread_that_dies_says_so() -> None:
    failures: queue.SimpleQueue[Exception] = queue.SimpleQueue()
    clock = iter([0, 0])  # a clock that breaks
    turns = DeviceTurns("null0", lambda *_: None, clock.__next__, fail=failures.put)
    turns.start()
    turns.claim("a", 50, Policy.BURST)
    assert "null0" in str(failures.get(timeout=5))
    turns.stop()
