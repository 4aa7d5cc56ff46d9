"""SQLite's write-ahead log, cut and damaged at every kind of place: what is said is what SQLite then does."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpupool_broker.core import facts as f
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.errors import JournalDamaged
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.store.wal import WalState, wal_state

FRAME = 24 + 4096


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as a killed broker leaves it: twenty commits of one fact, all in the log."""
    folder = tmp_path_factory.mktemp("killed")
    store = SqlStore(sqlite_url(folder / "live.sqlite"))
    with store.database.engine.connect() as reader:
        reader.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(1, 21):
            store.append([f.NodeLost(at_ms=number, node="n" * 200, reason="r")])
        for ending in ("", "-wal"):
            shutil.copy(folder / f"live.sqlite{ending}", folder / f"broker.sqlite{ending}")
    store.close()
    return folder


@pytest.fixture
def left(killed: Path, tmp_path: Path) -> Callable[[bytes], Path]:
    """Return a function that puts another log beside a copy of the database, and returns the log's path."""

    def put(wal: bytes) -> Path:
        shutil.copy(killed / "broker.sqlite", tmp_path / "broker.sqlite")
        for ending in ("-shm", "-wal", ".lock"):
            (tmp_path / f"broker.sqlite{ending}").unlink(missing_ok=True)
        path = tmp_path / "broker.sqlite-wal"
        path.write_bytes(wal)
        return path

    return put


def stored(database: Path) -> int:
    """How many records SQLite itself finds."""
    connection = sqlite3.connect(database)
    try:
        return int(connection.execute("SELECT count(*) FROM journal").fetchone()[0])
    finally:
        connection.close()


def whole(killed: Path) -> bytes:
    return (killed / "broker.sqlite-wal").read_bytes()


def test_a_whole_log_is_found_whole(killed: Path) -> None:
    state = wal_state(killed / "broker.sqlite-wal")
    assert state == WalState(frames=(len(whole(killed)) - 32) // FRAME)
    assert wal_state(killed / "nothing") == WalState()


@pytest.mark.parametrize("cut_bytes", [1, 24, FRAME - 1, FRAME - 24, FRAME - 25])
def test_a_log_cut_in_its_last_commit_loses_that_one_and_it_is_said(
    killed: Path, left: Callable[[bytes], Path], caplog: pytest.LogCaptureFixture, cut_bytes: int
) -> None:
    path = left(whole(killed)[:-cut_bytes])
    store = SqlStore(sqlite_url(path.with_name("broker.sqlite")))
    with caplog.at_level(logging.WARNING):
        store.journal.recover()
    assert "record 19 is the last of the journal" in caplog.text
    assert [fact.at_ms for fact in store.facts()] == list(range(1, 20))
    store.append([f.NodeLost(at_ms=21, node="n", reason="r")])
    assert not list(store.journal.faults())
    store.close()


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_log_cut_anywhere_is_read_as_sqlite_reads_it(killed: Path, left: Callable[[bytes], Path], data: st.DataObject) -> None:
    wal = whole(killed)
    length = data.draw(st.integers(32, len(wal)))
    path = left(wal[:length])
    state = wal_state(path)
    assert state.damaged_frame is None
    if (length - 32) % FRAME:
        assert state.is_cut
    assert state.frames <= (length - 32) // FRAME
    before = stored(path.with_name("broker.sqlite")) if state.frames else 0
    path = left(wal[: 32 + state.frames * FRAME])
    assert not wal_state(path).is_cut
    assert not state.frames or stored(path.with_name("broker.sqlite")) == before


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_before_the_last_commit_is_refused(
    killed: Path, left: Callable[[bytes], Path], data: st.DataObject
) -> None:
    wal = bytearray(whole(killed))
    frames = (len(wal) - 32) // FRAME
    last = max(i for i in range(frames - 1) if int.from_bytes(wal[32 + i * FRAME + 4 :][:4])) + 1
    at = data.draw(st.integers(32, 32 + last * FRAME - 1))
    wal[at] ^= 1 << data.draw(st.integers(0, 7))
    path = left(bytes(wal))
    with pytest.raises(JournalDamaged, match=f"frame {(at - 32) // FRAME + 1} of .* is damaged"):
        SqlStore(sqlite_url(path.with_name("broker.sqlite")))
