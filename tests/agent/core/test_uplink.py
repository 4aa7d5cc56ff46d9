"""When the agent greets, beats, dials again and gives up."""

from __future__ import annotations

from gpupool_agent.core.uplink import (
    BEAT_NS,
    GREETING_NS,
    REFUSED_NS,
    SILENCE_NS,
    Dial,
    GiveUp,
    Greet,
    SendBeat,
    State,
    Uplink,
)
from gpupool_wire.errors import Conflict, NotAuthorized


def welcomed(*, has_join_token: bool = False) -> Uplink:
    uplink = Uplink(has_credential=True, has_join_token=has_join_token)
    uplink.step(0)
    uplink.welcomed(0)
    return uplink


def test_it_dials_and_greets_first() -> None:
    assert Uplink(has_credential=True, has_join_token=False).step(0) == [Dial(), Greet(with_join_token=False)]


def test_the_first_greeting_shows_the_join_token() -> None:
    assert Uplink(has_credential=False, has_join_token=True).step(0)[1] == Greet(with_join_token=True)


def test_a_credential_is_shown_before_a_join_token() -> None:
    assert Uplink(has_credential=True, has_join_token=True).step(0)[1] == Greet(with_join_token=False)


def test_a_greeting_without_an_answer_is_repeated_on_a_fresh_socket() -> None:
    uplink = Uplink(has_credential=True, has_join_token=False)
    uplink.step(0)
    assert uplink.step(GREETING_NS - 1) == []
    assert uplink.step(GREETING_NS) == [Dial(), Greet(with_join_token=False)]


def test_it_beats_at_once_and_then_every_second() -> None:
    uplink = welcomed()
    assert uplink.step(0) == [SendBeat(1)]
    assert uplink.step(BEAT_NS - 1) == []
    uplink.heard(BEAT_NS)
    assert uplink.step(BEAT_NS) == [SendBeat(2)]


def test_after_a_stall_one_beat_is_enough() -> None:
    uplink = welcomed()
    uplink.step(0)
    uplink.heard(10 * BEAT_NS)
    assert uplink.step(10 * BEAT_NS) == [SendBeat(2)]
    assert uplink.step(10 * BEAT_NS + 1) == []


def test_a_silent_broker_is_dialled_anew() -> None:
    uplink = welcomed()
    uplink.step(0)
    uplink.step(BEAT_NS)
    assert uplink.step(SILENCE_NS) == [Dial(), Greet(with_join_token=False)]
    assert not uplink.is_up


def test_a_new_broker_is_greeted_on_the_same_socket() -> None:
    uplink = welcomed()
    assert uplink.told_to_greet(5) == [Greet(with_join_token=False)]
    assert uplink.state is State.GREETING


def test_a_refused_credential_gives_way_to_the_join_token() -> None:
    uplink = Uplink(has_credential=True, has_join_token=True)
    uplink.step(0)
    assert uplink.refused(NotAuthorized().to_info(), 1) == [Greet(with_join_token=True)]


def test_a_refused_join_token_ends_the_agent() -> None:
    uplink = Uplink(has_credential=False, has_join_token=True)
    uplink.step(0)
    error = NotAuthorized("used").to_info()
    assert uplink.refused(error, 1) == [GiveUp(error)]


def test_a_conflict_is_waited_out() -> None:
    uplink = Uplink(has_credential=True, has_join_token=False)
    uplink.step(0)
    assert uplink.refused(Conflict().to_info(), 1) == []
    assert uplink.step(REFUSED_NS) == []
    assert uplink.step(REFUSED_NS + 1) == [Dial(), Greet(with_join_token=False)]


def test_once_welcomed_it_never_gives_up() -> None:
    uplink = welcomed()
    uplink.told_to_greet(1)
    assert uplink.refused(NotAuthorized().to_info(), 1) == []
    assert uplink.step(REFUSED_NS + 1) == [Dial(), Greet(with_join_token=False)]


def test_a_welcome_ends_the_use_of_the_join_token() -> None:
    uplink = Uplink(has_credential=False, has_join_token=True)
    uplink.step(0)
    uplink.welcomed(0)
    assert uplink.told_to_greet(1) == [Greet(with_join_token=False)]


def test_the_next_step_is_never_missed() -> None:
    uplink = welcomed()
    now_ns, beats = 0, 0
    for _ in range(20):
        now_ns = max(now_ns, uplink.next_due_ns())
        effects = uplink.step(now_ns)
        beats += sum(isinstance(effect, SendBeat) for effect in effects)
        if effects and isinstance(effects[0], SendBeat):
            uplink.heard(now_ns)
    assert beats == 20
    assert now_ns == 19 * BEAT_NS
