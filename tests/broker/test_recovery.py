"""A start: from the newest snapshot that can be read and the facts behind it, or from all facts; the books are the same."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gpupool_broker import recovery
from gpupool_broker.core.pool import Pool
from gpupool_broker.recovery import Recovery
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.errors import JournalDamaged, StoreFailed
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.store.tables import journal, snapshot_pieces, snapshots


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    fresh = sqlite_url(tmp_path / "a.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()
    store = SqlStore(fresh)
    yield store
    store.close()


class Life:
    """A driven pool whose facts go to a store, as the service does it."""

    def __init__(self, driver: Any, store: SqlStore, every: int) -> None:
        self.driver, self.store = driver, store
        self.recovery = Recovery(store, every)
        self._stored = 0

    def turn(self) -> None:
        self.store.append(self.driver.journal[self._stored :])
        self._stored = len(self.driver.journal)
        self.recovery.consider(self.driver.pool)
        self.recovery.wait()


@pytest.fixture
def live(driver: Any, store: SqlStore) -> Callable[..., Life]:
    """Return a function that lives through as many facts as asked for, taking snapshots every so many."""

    def begin(facts: int, every: int) -> Life:
        life = Life(driver, store, every)
        driver.join(devices=4)
        life.turn()
        while len(driver.journal) < facts:
            # Few slices: a snapshot waits for as many facts as there are slices.
            step = len(driver.journal)
            (driver.request(1, 16) if step < 8 else driver.cordon() if step % 2 else driver.uncordon())
            life.turn()
        return life

    return begin


def restored(store: SqlStore) -> Pool:
    pool = Pool(lambda: "never asked")
    Recovery(store).restore(pool)
    return pool


def taken_at(store: SqlStore) -> list[int]:
    return [snapshot.link.seq for snapshot in store.snapshots.newest_first()]


def damage(store: SqlStore, statement: sa.Update | sa.Delete) -> None:
    with store.writer.begin() as connection:
        connection.execute(statement)


def test_snapshots_are_taken_when_due_and_the_last_two_are_kept(live: Callable[..., Life], store: SqlStore) -> None:
    life = live(35, 10)
    assert taken_at(store) == [30, 20]
    life.recovery.finish(life.driver.pool)
    assert taken_at(store) == [35, 30]
    with store.database.engine.connect() as connection:
        assert set(connection.scalars(sa.select(snapshot_pieces.c.seq))) == {35, 30}


def test_a_start_from_a_snapshot_gives_the_same_books(live: Callable[..., Life], store: SqlStore, caplog: Any) -> None:
    life = live(35, 10)
    with caplog.at_level(logging.INFO):
        again = restored(store)
    assert "35 facts are restored, 30 of them from a snapshot" in caplog.text
    assert (again.slices, again.nodes) == (life.driver.pool.slices, life.driver.pool.nodes)


def test_a_snapshot_of_many_pieces_is_whole(live: Callable[..., Life], store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpupool_broker.store.snapshots.PIECE_BYTES", 100)
    life = live(12, 10)
    assert restored(store).slices == life.driver.pool.slices


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (sa.update(snapshots).where(snapshots.c.seq == 30).values(shape=1), "another version of gpupool took it"),
        (sa.update(snapshots).where(snapshots.c.seq == 30).values(crc=1), "the journal is not the one it was taken of"),
        (sa.update(snapshots).where(snapshots.c.seq == 30).values(data_crc=1), "it is damaged"),
        (sa.delete(snapshot_pieces).where(snapshot_pieces.c.seq == 30), r"it is damaged \(0 bytes"),
        (sa.update(snapshot_pieces).where(snapshot_pieces.c.seq == 30).values(data=b"\x80"), "it is damaged"),
    ],
)
def test_a_snapshot_that_cannot_be_used_is_said_and_the_one_before_is_taken(
    live: Callable[..., Life], store: SqlStore, caplog: Any, change: sa.Update, said: str
) -> None:
    life = live(35, 10)
    damage(store, change)
    with caplog.at_level(logging.INFO):
        again = restored(store)
    assert "the snapshot behind record 30 is ignored" in caplog.text
    assert "35 facts are restored, 20 of them from a snapshot" in caplog.text
    assert re.search(said, caplog.text)
    assert (again.slices, again.nodes) == (life.driver.pool.slices, life.driver.pool.nodes)


def test_a_snapshot_packed_otherwise_is_ignored(live: Callable[..., Life], store: SqlStore, caplog: Any) -> None:
    life = live(35, 10)
    plain = b"not of zlib"
    damage(store, sa.delete(snapshot_pieces).where(snapshot_pieces.c.seq == 30, snapshot_pieces.c.number > 0))
    damage(store, sa.update(snapshot_pieces).where(snapshot_pieces.c.seq == 30).values(data=plain))
    header = sa.update(snapshots).where(snapshots.c.seq == 30)
    damage(store, header.values(size=len(plain), data_crc=zlib.crc32(plain)))
    assert restored(store).slices == life.driver.pool.slices
    assert "the snapshot behind record 30 is ignored: another version of gpupool wrote it" in caplog.text


def test_without_a_usable_snapshot_the_whole_journal_is_replayed(live: Callable[..., Life], store: SqlStore, caplog: Any) -> None:
    life = live(35, 10)
    damage(store, sa.update(snapshots).values(shape=1))
    with caplog.at_level(logging.INFO):
        again = restored(store)
    assert "35 facts are restored, 0 of them from a snapshot" in caplog.text
    assert again.slices == life.driver.pool.slices


@pytest.mark.parametrize("seq", [1, 15, 30, 31])
def test_damage_is_refused_also_before_the_snapshot(live: Callable[..., Life], store: SqlStore, seq: int) -> None:
    live(35, 10)
    damage(store, sa.update(journal).where(journal.c.seq == seq).values(record=b"\x80", size=1))
    with pytest.raises(JournalDamaged, match=f"record {seq} of the journal cannot be read"):
        restored(store)


def test_long_before_the_snapshot_only_the_full_check_looks(
    live: Callable[..., Life], store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = live(35, 10)
    monkeypatch.setattr(recovery, "CHECKED_RECORDS", 10)
    damage(store, sa.update(journal).where(journal.c.seq == 20).values(record=b"\x80", size=1))
    assert restored(store).slices == life.driver.pool.slices
    assert [fault.details["seq"] for fault in store.journal.faults()] == [20]


def test_a_dropped_last_record_takes_its_snapshot_along(live: Callable[..., Life], store: SqlStore, caplog: Any) -> None:
    life = live(30, 10)
    assert taken_at(store)[0] == 30
    damage(store, sa.update(journal).where(journal.c.seq == 30).values(record=b"\x80"))
    with caplog.at_level(logging.INFO):
        restored(store)
    assert "record 30 of the journal, the last one, was cut in the middle" in caplog.text
    assert "29 facts are restored, 20 of them from a snapshot" in caplog.text
    assert life.recovery is not None


def test_a_snapshot_that_cannot_be_written_costs_nothing_else(
    live: Callable[..., Life], store: SqlStore, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_snapshot: object) -> None:
        raise StoreFailed("disk full")

    monkeypatch.setattr(store.snapshots, "write", full)
    life = live(12, 10)
    assert "a snapshot could not be written: disk full" in caplog.text
    assert restored(store).slices == life.driver.pool.slices
