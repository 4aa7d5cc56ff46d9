"""The right to write: whoever has lost it stores nothing any more, whatever it tries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpupool_broker.core import facts as f
from gpupool_broker.store.databases import open_database
from gpupool_broker.store.errors import RightLost
from gpupool_broker.store.sql import SqlStore, Token

Lost = Callable[..., f.NodeLost]


@pytest.fixture
def url(postgres: Any) -> str:
    fresh: str = postgres.new_database()
    return fresh


@pytest.fixture
def stores(url: str) -> Iterator[Callable[[], SqlStore]]:
    """Return a function that opens further stores of the same database, as other brokers would."""
    opened: list[SqlStore] = []

    def open_another() -> SqlStore:
        opened.append(SqlStore(url))
        return opened[-1]

    yield open_another
    for store in opened:
        store.close()


def test_who_lost_the_connection_writes_nothing_any_more(stores: Callable[[], SqlStore], postgres: Any, lost: Lost) -> None:
    first = stores()
    first.append([lost(1)])
    postgres.end_connections()
    second = stores()
    second.append([lost(2)])
    token = Token(token_id="1", sha256="h", role="admin", tenant="t", name="n", created_ms=1)
    attempts: list[Callable[[], object]] = [
        lambda: first.append([lost(3)]),
        lambda: first.append([lost(n) for n in range(100)]),
        lambda: first.add_token(token),
        lambda: first.key("lease", lambda: b"another"),
        first.writer.check,
    ]
    for attempt in attempts:
        with pytest.raises(RightLost, match="another broker may serve now"):
            attempt()
    assert list(second.facts()) == [lost(1), lost(2)]
    assert second.all_tokens() == []


@pytest.mark.parametrize("count", [1, 100])
def test_a_connection_that_breaks_in_a_turn_stores_none_of_it(
    stores: Callable[[], SqlStore], postgres: Any, lost: Lost, count: int
) -> None:
    store = stores()

    def turn() -> None:
        with store.writer.begin() as connection:
            store.database.insert(connection, [(n, 1, 1, None, b"", 0, 0) for n in range(1, count + 1)])
            postgres.end_connections()
            store.database.insert(connection, [(n, 1, 1, None, b"", 0, 0) for n in range(101, count + 101)])

    with pytest.raises(RightLost):
        turn()
    assert list(stores().facts()) == []


def test_the_right_is_free_again_once_its_connection_has_ended(stores: Callable[[], SqlStore], url: str) -> None:
    first = stores()
    waiting = open_database(url)
    assert waiting.take() is None
    assert waiting.take() is None
    first.close()
    connection = waiting.take()
    assert connection is not None
    connection.close()
    waiting.close()


def test_all_brokers_of_a_database_share_one_key(open_store: Callable[[], SqlStore]) -> None:
    made = open_store().key("lease", lambda: b"first")
    assert (made, open_store().key("lease", lambda: b"second")) == (b"first", b"first")
