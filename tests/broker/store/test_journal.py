"""Damage: what cannot have been acknowledged is dropped and said, everything else is refused with its position."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from gpupool_broker.core import facts as f
from gpupool_broker.store.errors import JournalDamaged
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.store.tables import journal

Lost = Callable[..., f.NodeLost]
COUNT = 7


@pytest.fixture
def filled(store: SqlStore, lost: Lost) -> SqlStore:
    store.append([lost(number) for number in range(1, COUNT + 1)])
    return store


def change(store: SqlStore, seq: int, edit: Callable[[bytes], bytes]) -> None:
    with store.writer.begin() as connection:
        record = connection.scalar(sa.select(journal.c.record).where(journal.c.seq == seq))
        assert record is not None
        connection.execute(sa.update(journal).where(journal.c.seq == seq).values(record=edit(bytes(record))))


def flipped(record: bytes) -> bytes:
    return bytes([record[0] ^ 1]) + record[1:]


@pytest.mark.parametrize("seq", [1, 4, COUNT])
def test_a_flipped_bit_is_refused_wherever_it_is(filled: SqlStore, open_store: Callable[[], SqlStore], seq: int) -> None:
    change(filled, seq, flipped)
    store = open_store()
    store.journal.recover()
    with pytest.raises(JournalDamaged, match=f"record {seq} of the journal cannot be read") as caught:
        list(store.facts())
    assert caught.value.details == {"seq": seq}
    assert store.journal.head.seq == COUNT
    assert [fault.details["seq"] for fault in store.journal.faults()] == [seq]


@pytest.mark.parametrize("left", [0, 1, 20, -1])
def test_a_last_record_that_is_cut_is_dropped_and_said(
    filled: SqlStore, open_store: Callable[[], SqlStore], lost: Lost, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    change(filled, COUNT, lambda record: record[:left])
    store = open_store()
    with caplog.at_level(logging.ERROR):
        store.journal.recover()
    assert f"record {COUNT} of the journal, the last one, was cut in the middle" in caplog.text
    store.append([lost(100)])
    store = open_store()
    assert [fact.at_ms for fact in store.facts()] == [*range(1, COUNT), 100]


@pytest.mark.parametrize("seq", [1, COUNT - 1])
def test_an_earlier_record_that_is_cut_is_refused(filled: SqlStore, open_store: Callable[[], SqlStore], seq: int) -> None:
    change(filled, seq, lambda record: record[:-1])
    store = open_store()
    store.journal.recover()
    with pytest.raises(JournalDamaged, match=f"record {seq} of the journal is cut"):
        list(store.facts())
    assert store.journal.head.seq == COUNT


def test_a_missing_record_is_named(filled: SqlStore) -> None:
    with filled.writer.begin() as connection:
        connection.execute(sa.delete(journal).where(journal.c.seq == 2))
    with pytest.raises(JournalDamaged, match="record 2 of the journal is missing"):
        list(filled.facts())


def test_a_record_this_gpupool_does_not_know_is_named(filled: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpupool_broker.store.journal.encode_fact", lambda fact: b"\x81\xa4fact\xa4What")
    filled.append([f.NodeLost(at_ms=1, node="n", reason="r")])
    with pytest.raises(JournalDamaged, match=f"record {COUNT + 1} of the journal cannot be read: Invalid value 'What'"):
        list(filled.facts())
