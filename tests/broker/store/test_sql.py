"""What every database must do for the broker: one contract, on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gpupool_broker.core import facts as f
from gpupool_broker.store.databases import open_database
from gpupool_broker.store.errors import RightTaken, StoreFailed
from gpupool_broker.store.sql import SqlStore, Token
from gpupool_broker.store.tables import metadata
from gpupool_wire.errors import UsageError

Lost = Callable[..., f.NodeLost]


def test_facts_come_back_in_order_after_reopening(open_store: Callable[[], SqlStore], lost: Lost) -> None:
    open_store().append([lost(1), lost(2)])
    store = open_store()
    store.append([lost(3)])
    assert list(store.facts()) == [lost(1), lost(2), lost(3)]


@pytest.mark.parametrize("count", [1, 49, 50, 2_000])
def test_a_turn_of_any_size_is_stored_whole(open_store: Callable[[], SqlStore], lost: Lost, count: int) -> None:
    facts = [lost(number, node=f"η{number}", reason="\0" * (number % 3)) for number in range(count)]
    open_store().append(facts)
    assert list(open_store().facts()) == facts


def test_the_facts_of_one_slice_are_found(store: SqlStore, lost: Lost) -> None:
    used = [f.SliceUsed(at_ms=n, slice_id="s" if n % 2 else "t", device_ns=1, throttled_ns=0, calls=1) for n in range(200)]
    store.append([lost(1), *used])
    assert store.facts_of("s") == used[1::2]


@pytest.mark.parametrize("count", [1, 100])
def test_a_failed_commit_stores_nothing_and_the_next_one_works(store: SqlStore, lost: Lost, count: int) -> None:
    store.append([lost(0)])
    with store.writer.begin() as connection:
        connection.execute(sa.text("CREATE UNIQUE INDEX no_room ON journal (schema_version)"))
    with pytest.raises(StoreFailed, match=r"no_room|UNIQUE"):
        store.append([lost(n) for n in range(1, count + 1)])
    with store.writer.begin() as connection:
        connection.execute(sa.text("DROP INDEX no_room"))
    store.append([lost(-1)])
    assert list(store.facts()) == [lost(0), lost(-1)]


def test_tokens_are_kept_as_hashes_and_marked(store: SqlStore) -> None:
    token = Token(token_id="1", sha256="h", role="admin", tenant="t", name="n", created_ms=1)
    store.add_token(token)
    store.mark_token("1", revoked_ms=5)
    assert [(kept.sha256, kept.revoked_ms) for kept in store.all_tokens()] == [("h", 5)]
    assert store.is_alive()


def test_tokens_written_by_other_threads_do_not_mix_with_a_turn(store: SqlStore, lost: Lost) -> None:
    numbers = itertools.count()

    def write_tokens() -> None:
        for _ in range(50):
            name = str(next(numbers))
            store.add_token(Token(token_id=name, sha256=name, role="admin", tenant="t", name="n", created_ms=1))

    threads = [threading.Thread(target=write_tokens) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(50):
        store.append([lost(number)])
    for thread in threads:
        thread.join()
    assert len(store.all_tokens()) == 150
    assert [fact.at_ms for fact in store.facts()] == list(range(50))


def test_the_migrations_make_the_tables_that_the_code_means(store: SqlStore) -> None:
    with store.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_migrations_go_down_and_up_again(open_store: Callable[[], SqlStore], lost: Lost) -> None:
    store = open_store()
    with store.writer.begin() as connection:
        store.database.migrate(connection, "base")
        assert set(sa.inspect(connection).get_table_names()) <= {"alembic_version"}
    store = open_store()
    store.append([lost(1)])
    assert list(store.facts()) == [lost(1)]


def test_a_journal_from_before_the_checksums_is_chained_by_its_migration(open_store: Callable[[], SqlStore], lost: Lost) -> None:
    store = open_store()
    facts = [lost(1), f.SliceUsed(at_ms=2, slice_id="s", device_ns=1, throttled_ns=0, calls=1), lost(3)]
    store.append(facts)
    before = store.journal.head
    with store.writer.begin() as connection:
        store.database.migrate(connection, "0001")
    store = open_store()
    assert store.journal.head == before
    assert list(store.facts()) == facts
    assert not list(store.journal.faults())


def test_one_broker_writes_to_a_database_at_a_time(url: str, open_store: Callable[[], SqlStore], lost: Lost) -> None:
    open_store().append([lost(1)])
    with pytest.raises(RightTaken, match="another broker serves from"):
        SqlStore(url)
    assert list(open_store().facts()) == [lost(1)]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://x/y", "mysql is not supported"),
        ("nonsense", "is not understood"),
        ("postgresql://nobody@127.0.0.1:1/x", None),
        ("sqlite:////nowhere/at/all.sqlite", None),
    ],
)
def test_a_database_that_cannot_be_is_refused(url: str, said: str | None) -> None:
    with pytest.raises(UsageError if said else StoreFailed, match=said or "cannot be used|the broker's store failed"):
        SqlStore(open_database(url))
