"""Signing in: sessions, their ends, limits, and what is written down."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpupool_broker.access import sessions as stays
from gpupool_broker.access.desks import HOUR_MS, Desks
from gpupool_broker.access.signing_in import FREE_A_NAME, FREE_AN_ADDRESS, TooManyAttempts
from gpupool_broker.store.audit import AuditQuery
from gpupool_broker.tokens import Unauthenticated
from gpupool_wire.errors import NotAuthorized, UsageError
from tests.broker.access.conftest import START_MS, Wall

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def wrong(desks: Desks, name: str = "ada", address: str = ELSEWHERE, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Unauthenticated, match="name or password is wrong"):
            desks.signing_in.with_password(name, "wrong horse", address)


def test_a_session_is_its_user_until_it_is_ended(desks: Desks, ada: str) -> None:
    session, secret = desks.signing_in.with_password("ada", ada, HOME)
    who = desks.doorkeeper.identify(secret)
    assert (who.name, who.role, who.tenant, who.must_change) == ("ada", "tenant", "ocr", False)
    desks.sessions.end(session.session_id)
    with pytest.raises(Unauthenticated, match="the session is over"):
        desks.doorkeeper.identify(secret)


def test_a_session_outlives_a_restart_and_its_secret_is_nowhere(open_again: Callable[[], Desks]) -> None:
    desks = open_again()
    _, first = desks.users.create("ada", "admin")
    session, secret = desks.signing_in.with_password("ada", first, HOME)
    assert secret not in repr(session)
    assert open_again().doorkeeper.identify(secret).must_change


def test_a_session_ends_with_its_hours_and_when_nobody_uses_it(desks: Desks, ada: str, wall: Wall) -> None:
    _, secret = desks.signing_in.with_password("ada", ada, HOME)
    for _ in range(11):
        wall.now_ms += HOUR_MS
        desks.doorkeeper.identify(secret)
    wall.now_ms += HOUR_MS
    with pytest.raises(Unauthenticated):
        desks.doorkeeper.identify(secret)
    _, idle = desks.signing_in.with_password("ada", ada, HOME)
    wall.now_ms += stays.IDLE_MS
    with pytest.raises(Unauthenticated):
        desks.doorkeeper.identify(idle)
    desks.sessions.tend()
    assert repr(desks.sessions) == "<SessionDesk, 0 sessions>"


def test_a_clock_that_goes_back_revives_nothing(open_again: Callable[[], Desks], wall: Wall) -> None:
    desks = open_again()
    _, first = desks.users.create("ada", "admin")
    _, secret = desks.signing_in.with_password("ada", first, HOME)
    token = desks.tokens.issue("admin", expires_s=60)[1]
    wall.now_ms += 20 * HOUR_MS
    for credential in (secret, token):
        with pytest.raises(Unauthenticated):
            desks.doorkeeper.identify(credential)
    wall.now_ms = START_MS
    for credential in (secret, token):
        with pytest.raises(Unauthenticated):
            desks.doorkeeper.identify(credential)
    wall.now_ms = START_MS - HOUR_MS
    with pytest.raises(Unauthenticated):
        open_again().doorkeeper.identify(secret)


def test_a_disabled_user_is_out_at_once(desks: Desks, ada: str) -> None:
    _, secret = desks.signing_in.with_password("ada", ada, HOME)
    desks.users.change("ada", is_disabled=True)
    with pytest.raises(Unauthenticated, match="disabled"):
        desks.doorkeeper.identify(secret)
    with pytest.raises(Unauthenticated, match="disabled"):
        desks.signing_in.with_password("ada", ada, HOME)
    desks.users.change("ada", is_disabled=False)
    assert desks.signing_in.with_password("ada", ada, HOME)


def test_a_change_of_role_holds_for_sessions_that_are_open(desks: Desks, ada: str) -> None:
    _, secret = desks.signing_in.with_password("ada", ada, HOME)
    desks.users.change("ada", role="finance")
    assert desks.doorkeeper.identify(secret).role == "finance"


def test_a_tokens_session_is_worth_what_the_token_is(desks: Desks, wall: Wall) -> None:
    token, secret = desks.tokens.issue("finance", name="board", expires_s=600, read_only=True)
    session, stay = desks.signing_in.with_token(secret, HOME)
    who = desks.doorkeeper.identify(stay)
    assert (who.role, who.is_read_only, session.expires_ms) == ("finance", True, wall.now_ms + 600_000)
    desks.tokens.revoke(token.token_id)
    with pytest.raises(Unauthenticated, match="was revoked"):
        desks.doorkeeper.identify(stay)


def test_a_join_token_is_not_for_people(desks: Desks) -> None:
    _, secret = desks.tokens.issue("join")
    with pytest.raises(NotAuthorized, match="for machines"):
        desks.signing_in.with_token(secret, HOME)


def test_wrong_a_hundred_times_makes_that_name_wait_and_nobody_else(desks: Desks, ada: str, wall: Wall) -> None:
    desks.signing_in.with_password("ada", ada, HOME)
    wrong(desks, times=FREE_A_NAME + 1)
    with pytest.raises(TooManyAttempts, match="try again in 2 s") as refused:
        desks.signing_in.with_password("ada", "wrong horse", ELSEWHERE)
    assert refused.value.details == {"retry_after_s": 2}
    for _ in range(100):
        wall.now_ms += 1
        with pytest.raises(TooManyAttempts):
            desks.signing_in.with_password("ADA", ada, ELSEWHERE)
    assert desks.signing_in.with_password("ada", ada, HOME), "her own address is counted apart"
    _, other = desks.users.create("bob", "admin")
    assert desks.signing_in.with_password("bob", other, ELSEWHERE)
    wall.now_ms += 2_000
    assert desks.signing_in.with_password("ada", ada, ELSEWHERE)


def test_an_address_that_tries_many_names_waits(desks: Desks, ada: str) -> None:
    for number in range(FREE_AN_ADDRESS + 1):
        wrong(desks, name=f"user{number}")
    with pytest.raises(TooManyAttempts):
        desks.signing_in.with_password("ada", ada, ELSEWHERE)
    assert desks.signing_in.with_password("ada", ada, HOME)


def test_guessing_tokens_is_limited_too(desks: Desks) -> None:
    for _ in range(FREE_AN_ADDRESS + 1):
        with pytest.raises(Unauthenticated):
            desks.signing_in.with_token("gpp_admin_guess", ELSEWHERE)
    with pytest.raises(TooManyAttempts):
        desks.signing_in.with_token("gpp_admin_guess", ELSEWHERE)


def test_whoever_finds_a_browser_open_does_not_guess_the_old_password(desks: Desks, ada: str) -> None:
    user = desks.users.named("ada")
    for _ in range(FREE_A_NAME + 1):
        with pytest.raises(UsageError):
            desks.signing_in.choose_password(user, "wrong horse", "another horse")
    with pytest.raises(TooManyAttempts):
        desks.signing_in.choose_password(user, ada, "another horse")


def test_every_outcome_is_written_down_and_a_name_nobody_has_is_not(desks: Desks, ada: str) -> None:
    wrong(desks)
    wrong(desks, name="my secret password")
    desks.signing_in.with_password("ada", ada, HOME)
    found = desks.audit.store.find(AuditQuery(action="sign_in"), 10)
    assert [(one.who, one.outcome, one.address, one.remark) for one in found] == [
        ("ada", "done", HOME, ""),
        ("", "not_authorized", ELSEWHERE, "no such user"),
        ("ada", "not_authorized", ELSEWHERE, ""),
    ]
    assert "my secret" not in str(found)


def test_sessions_of_one_user_are_bounded(desks: Desks, ada: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stays, "MAX_EACH", 3)
    first = desks.signing_in.with_password("ada", ada, HOME)[1]
    rest = [desks.signing_in.with_password("ada", ada, HOME)[1] for _ in range(3)]
    assert desks.sessions.find(first) is None
    assert all(desks.sessions.find(secret) for secret in rest)


def test_last_uses_of_tokens_are_listed_and_kept(open_again: Callable[[], Desks], wall: Wall) -> None:
    desks = open_again()
    _, secret = desks.tokens.issue("admin")
    wall.now_ms += 5_000
    desks.doorkeeper.identify(secret)
    assert [token.used_ms for token in desks.tokens.list()] == [START_MS + 5_000]
    desks.tokens.tend()
    assert [token.used_ms for token in open_again().tokens.list()] == [START_MS + 5_000]
