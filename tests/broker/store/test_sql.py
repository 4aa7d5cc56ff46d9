"""The store: what was appended is there, what is damaged is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from gpupool_broker.core import facts as f
from gpupool_broker.store.sql import JournalDamaged, SqlStore, StoreFailed, Token, sqlite_url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broker.sqlite"


def lost(number: int) -> f.NodeLost:
    return f.NodeLost(at_ms=number, node=f"n{number}", reason="r")


def test_facts_come_back_in_order_after_reopening(path: Path) -> None:
    store = SqlStore(sqlite_url(path))
    store.append([lost(1), lost(2)])
    store.close()
    store = SqlStore(sqlite_url(path))
    store.append([lost(3)])
    assert list(store.facts()) == [lost(1), lost(2), lost(3)]
    store.close()


def test_the_facts_of_one_slice_are_found(path: Path) -> None:
    store = SqlStore(sqlite_url(path))
    used = f.SliceUsed(at_ms=1, slice_id="s", device_ns=1, throttled_ns=0, calls=1)
    store.append([lost(1), used])
    assert store.facts_of("s") == [used]
    store.close()


def test_a_missing_record_is_named(path: Path) -> None:
    store = SqlStore(sqlite_url(path))
    store.append([lost(1), lost(2), lost(3)])
    with store._engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM journal WHERE seq = 2"))
    with pytest.raises(JournalDamaged, match="record 2 of the journal is missing"):
        list(store.facts())
    store.close()


def test_a_failed_commit_stores_nothing_and_the_next_one_works(path: Path) -> None:
    store = SqlStore(sqlite_url(path))
    with store._engine.begin() as connection:
        connection.execute(sa.text("CREATE TRIGGER full BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'disk full'); END"))
    with pytest.raises(StoreFailed, match="disk full"):
        store.append([lost(1)])
    with store._engine.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER full"))
    store.append([lost(2)])
    assert list(store.facts()) == [lost(2)]
    store.close()


def test_tokens_are_kept_as_hashes_and_marked(path: Path) -> None:
    store = SqlStore(sqlite_url(path))
    token = Token(token_id="1", sha256="h", role="admin", tenant="t", name="n", created_ms=1)
    store.add_token(token)
    store.mark_token("1", revoked_ms=5)
    assert [(kept.sha256, kept.revoked_ms) for kept in store.all_tokens()] == [("h", 5)]
    assert store.is_alive()
    store.close()
