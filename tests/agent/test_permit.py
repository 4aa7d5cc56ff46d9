"""A worker's side of the quantum channel, in simulated time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_agent.channel import Grant, Recall, Settle, ToAgent, Want
from gpupool_agent.permit import Permit

MS = 1_000_000


def grant(seq: int = 1, quantum_ns: int = 10 * MS, linger_ns: int = 2 * MS, patience_ns: int | None = None) -> Grant:
    return Grant(seq=seq, quantum_ns=quantum_ns, linger_ns=linger_ns, patience_ns=patience_ns)


@pytest.fixture
def permit() -> Permit:
    """A permit with one caller inside since 0."""
    permit = Permit()
    assert permit.wait(0) == [Want()]
    assert permit.granted(grant(), 0) == []
    permit.unwait()
    assert permit.enter(0)
    return permit


def test_no_more_enter_than_there_are_slots() -> None:
    permit = Permit(slots=1)
    permit.wait(0)
    permit.wait(0)
    permit.granted(grant(), 0)
    assert permit.enter(0)
    assert not permit.enter(1)
    permit.leave(2, None)
    assert permit.enter(3)


def test_want_is_said_once_however_many_wait() -> None:
    permit = Permit()
    assert permit.wait(0) == [Want()]
    assert permit.wait(0) == []
    assert not permit.enter(0)


def test_used_is_the_union_of_intervals(permit: Permit) -> None:
    assert permit.enter(1 * MS)
    assert permit.leave(3 * MS, None) == []
    assert permit.leave(4 * MS, None) == []
    assert permit.enter(5 * MS)
    assert permit.leave(6 * MS, None) == []
    assert permit.tick(9 * MS) == [Settle(seq=1, used_ns=5 * MS, more=False)]


def test_measured_device_time_takes_the_place_of_wall_time(permit: Permit) -> None:
    permit.leave(4 * MS, 1234)
    assert permit.tick(7 * MS) == [Settle(seq=1, used_ns=1234, more=False)]


def test_nobody_enters_after_the_quantum_and_a_long_call_runs_to_its_end(permit: Permit) -> None:
    assert not permit.enter(10 * MS)
    assert permit.wait(10 * MS) == []
    assert permit.tick(500 * MS) == []
    assert permit.leave(700 * MS, None) == [Settle(seq=1, used_ns=700 * MS, more=True)]
    assert permit.is_wanted
    assert permit.granted(grant(2), 701 * MS) == []
    permit.unwait()
    assert permit.enter(701 * MS)


def test_an_idle_grant_is_kept_for_the_linger_time(permit: Permit) -> None:
    permit.leave(1 * MS, None)
    assert permit.tick(2 * MS) == []
    assert permit.enter(2 * MS)
    permit.leave(3 * MS, None)
    assert permit.tick(5 * MS - 1) == []
    assert permit.tick(5 * MS) == [Settle(seq=1, used_ns=2 * MS, more=False)]
    assert not permit.is_busy


def test_a_caller_that_pauses_longer_is_not_waited_for() -> None:
    permit = Permit()
    now = 0
    settled_at_once = False
    for seq in range(1, 20):
        if not permit.enter(now):
            permit.wait(now)
            permit.granted(grant(seq), now)
            permit.unwait()
            assert permit.enter(now)
        settled_at_once = bool(permit.leave(now + MS, None))
        permit.tick(now + 4 * MS)
        now += 9 * MS
    assert settled_at_once


def test_after_a_long_call_somebody_who_is_due_goes_first() -> None:
    permit = Permit()
    permit.wait(0)
    permit.granted(grant(patience_ns=3 * MS), 0)
    permit.unwait()
    assert permit.enter(0)
    assert permit.leave(4 * MS, None) == [Settle(seq=1, used_ns=4 * MS, more=False)]


def test_short_calls_keep_the_grant_though_somebody_is_due() -> None:
    permit = Permit()
    permit.wait(0)
    permit.granted(grant(patience_ns=0), 0)
    permit.unwait()
    assert permit.enter(0)
    assert permit.leave(MS // 10, None) == []


def test_a_grant_nobody_waits_for_any_more_is_settled_at_once() -> None:
    permit = Permit()
    permit.wait(0)
    permit.unwait()
    assert permit.granted(grant(), 0) == [Settle(seq=1, used_ns=0, more=False)]


def test_a_second_grant_is_settled_at_once(permit: Permit) -> None:
    assert permit.granted(grant(2), 1) == [Settle(seq=2, used_ns=0, more=False)]
    assert permit.is_held


def test_a_caller_that_woke_too_late_settles_and_asks_again() -> None:
    permit = Permit()
    permit.wait(0)
    permit.granted(grant(), 0)
    assert not permit.enter(11 * MS)
    assert permit.tick(11 * MS) == [Settle(seq=1, used_ns=0, more=True)]


@given(st.lists(st.tuples(st.sampled_from(["wait", "enter", "leave", "tick", "grant"]), st.integers(0, 5 * MS)), max_size=80))
def test_in_any_history_every_grant_is_settled_once_and_use_fits(steps: list[tuple[str, int]]) -> None:
    permit, now, seq, wants = Permit(), 0, 0, 0
    granted_at: dict[int, int] = {}
    settled: list[int] = []
    inside = waiting = 0

    def take(messages: list[ToAgent]) -> None:
        nonlocal wants
        for message in messages:
            if isinstance(message, Settle):
                settled.append(message.seq)
                assert 0 <= message.used_ns <= now - granted_at[message.seq]
                wants += message.more
            else:
                wants += 1

    for step, passed in steps:
        now += passed
        if step == "wait":
            waiting += 1
            take(permit.wait(now))
        elif step == "grant" and wants:
            wants -= 1
            seq += 1
            granted_at[seq] = now
            take(permit.granted(grant(seq), now))
        elif step == "enter" and waiting and permit.enter(now):
            permit.unwait()
            waiting, inside = waiting - 1, inside + 1
        elif step == "leave" and inside:
            inside -= 1
            take(permit.leave(now, None))
        elif step == "tick":
            take(permit.tick(now))
        assert wants in (0, 1)
        assert (permit.active, permit.waiting) == (inside, waiting)
    while inside:
        inside -= 1
        take(permit.leave(now, None))
    now += 100 * MS
    take(permit.tick(now))
    assert settled == sorted(set(settled)) == list(range(1, seq + 1))


def test_a_recalled_grant_ends_early() -> None:
    permit = Permit()
    permit.wait(0)
    permit.granted(grant(quantum_ns=1000 * MS), 0)
    permit.unwait()
    assert permit.enter(0)
    assert permit.recalled(Recall(seq=9, quantum_ns=1), MS) == []
    assert permit.recalled(Recall(seq=1, quantum_ns=20 * MS), MS) == []
    assert permit.enter(19 * MS)
    assert not permit.enter(20 * MS)
    permit.leave(25 * MS, None)
    assert permit.leave(26 * MS, None) == [Settle(seq=1, used_ns=26 * MS, more=False)]
    assert permit.recalled(Recall(seq=1, quantum_ns=1), 27 * MS) == []
