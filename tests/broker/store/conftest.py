"""Databases of both kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpupool_broker.core import facts as f
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.sql import SqlStore


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "broker.sqlite")
    fresh: str = request.getfixturevalue("postgres").new_database()
    return fresh


@pytest.fixture
def open_store(url: str) -> Iterator[Callable[[], SqlStore]]:
    """Return a function that opens the store, as often as one likes; one at a time."""
    opened: list[SqlStore] = []

    def open_one() -> SqlStore:
        if opened:
            opened.pop().close()
        opened.append(SqlStore(url))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], SqlStore]) -> SqlStore:
    return open_store()


@pytest.fixture
def lost() -> Callable[[int], f.NodeLost]:
    """Return a function that makes a fact."""

    def make(number: int, **changes: Any) -> f.NodeLost:
        return f.NodeLost(**({"at_ms": number, "node": f"n{number}", "reason": "r"} | changes))

    return make
