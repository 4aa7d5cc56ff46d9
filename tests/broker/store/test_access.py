"""Users, sessions, audit entries and settings: one contract, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from gpupool_broker.store.accounts import Session, User
from gpupool_broker.store.audit import AuditEntry, AuditQuery
from gpupool_broker.store.settings import Setting
from gpupool_broker.store.sql import SqlStore, Token
from gpupool_wire.errors import Conflict

ADA = User(user_id="u-1", name="ада", role="tenant", tenant="ocr", password="$argon2id$x", must_change=True, created_ms=1)
STAY = Session(session_id="s-1", sha256="h", user_id="u-1", created_ms=1, expires_ms=9, used_ms=1, address="::1")


def entry(at_ms: int, **more: str) -> AuditEntry:
    return AuditEntry(**({"at_ms": at_ms, "who": "ada", "action": "slice.resize", "target": f"s-{at_ms}"} | more))


def test_a_user_comes_back_as_it_was_kept(open_store: Callable[[], SqlStore]) -> None:
    store = open_store()
    store.accounts.add_user(ADA)
    changed = replace(ADA, must_change=False, password="", used_ms=5, disabled_ms=6, role="finance")
    store.accounts.keep_user(changed)
    assert open_store().accounts.users() == [changed]


def test_a_name_is_taken_once(store: SqlStore) -> None:
    store.accounts.add_user(ADA)
    with pytest.raises(Conflict, match="already"):
        store.accounts.add_user(replace(ADA, user_id="u-2"))
    assert store.accounts.users() == [ADA]


def test_sessions_outlive_a_restart_until_they_are_ended(open_store: Callable[[], SqlStore]) -> None:
    store = open_store()
    other = replace(STAY, session_id="s-2", sha256="i", user_id="", token_id="t-1")
    store.accounts.add_session(STAY)
    store.accounts.add_session(other)
    store.accounts.note_uses([replace(STAY, used_ms=7)])
    store.accounts.note_uses([])
    store.accounts.end_sessions(["s-2"])
    assert open_store().accounts.sessions() == [replace(STAY, used_ms=7)]


def test_entries_are_numbered_without_gaps_and_found_newest_first(open_store: Callable[[], SqlStore]) -> None:
    open_store().audit.add([entry(1), entry(2)])
    store = open_store()
    assert [one.seq for one in store.audit.add([entry(3)])] == [3]
    assert [one.at_ms for one in store.audit.find(AuditQuery(), 2)] == [3, 2]
    assert store.audit.newest_ms() == 3


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (AuditQuery(since_ms=2, until_ms=4), [3, 2]),
        (AuditQuery(who="eve"), [4]),
        (AuditQuery(action="slice"), [4, 2, 1]),
        (AuditQuery(action="slice.resize"), [4, 2, 1]),
        (AuditQuery(action="slic"), []),
        (AuditQuery(target="%"), [2]),
        (AuditQuery(outcome="not_authorized"), [4]),
        (AuditQuery(below_seq=3), [2, 1]),
        (AuditQuery(who="ada", action="quota"), [3]),
    ],
)
def test_entries_are_found_by_all_that_is_said(store: SqlStore, query: AuditQuery, found: list[int]) -> None:
    other = entry(4, who="eve", outcome="not_authorized")
    store.audit.add([entry(1), entry(2, target="50%"), entry(3, action="quota.set"), other])
    assert [one.at_ms for one in store.audit.find(query, 10)] == found


def test_old_entries_are_dropped_and_numbers_go_on(store: SqlStore) -> None:
    store.audit.add([entry(1), entry(2), entry(3)])
    assert store.audit.drop_before(10) == 2
    assert [one.seq for one in store.audit.add([entry(11)])] == [4]
    assert [one.seq for one in store.audit.find(AuditQuery(), 10)] == [4, 3]


def test_settings_are_kept_with_who_changed_them(open_store: Callable[[], SqlStore]) -> None:
    first = Setting(name="audit_days", value=None, changed_ms=1, changed_by="ada")
    placement = Setting(name="placement", value="pack", changed_ms=1, changed_by="ada")
    open_store().settings.keep([first, placement])
    second = replace(first, value=30, changed_ms=2)
    store = open_store()
    store.settings.keep([second])
    assert store.settings.all() == {"audit_days": second, "placement": placement}


def test_a_token_that_may_only_read_is_revoked_for_older_brokers(open_store: Callable[[], SqlStore]) -> None:
    store = open_store()
    plain = Token(token_id="1", sha256="h", role="admin", tenant="t", name="n", created_ms=1)
    store.add_token(plain)
    store.add_token(replace(plain, token_id="2", sha256="i", read_only=True, made_by="ada"))
    with store.writer.begin() as connection:
        store.database.migrate(connection, "0010")
        assert "users" not in sa.inspect(connection).get_table_names()
    kept = open_store().all_tokens()
    assert [(token.token_id, token.revoked_ms) for token in kept] == [("1", None), ("2", 1)]
