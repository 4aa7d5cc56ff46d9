"""The desks of a store in a file, at a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpupool_broker.access.clock import SteadyClock
from gpupool_broker.access.desks import Desks, open_desks
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.sql import SqlStore

START_MS = 1_700_000_000_000


class Wall:
    """A wall clock that tests turn."""

    now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def open_again(tmp_path: Path, wall: Wall) -> Iterator[Callable[[], Desks]]:
    """Return a function that opens the desks, as a broker that starts does; those before are closed. No monotonic time passes."""
    stores: list[SqlStore] = []

    def start() -> Desks:
        if stores:
            stores.pop().close()
        stores.append(SqlStore(sqlite_url(tmp_path / "broker.sqlite")))
        return open_desks(stores[-1], SteadyClock(wall, lambda: 0), {})

    yield start
    for store in stores:
        store.close()


@pytest.fixture
def desks(open_again: Callable[[], Desks]) -> Desks:
    return open_again()


@pytest.fixture
def ada(desks: Desks) -> str:
    """A user of tenant ocr; return her password."""
    _, first = desks.users.create("ada", "tenant", "ocr")
    user = desks.users.named("ada")
    desks.users.choose(user, first, "correct horse")
    return "correct horse"
