"""Folded use in both databases: read as if it had never been folded, whatever happens in between, and never before its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.meter import Meter, MeterState
from gpupool_broker.core.books import Books
from gpupool_broker.core.snapshot import SHAPE, freeze, thaw
from gpupool_broker.recovery import Recovery
from gpupool_broker.reports.folding import next_folds
from gpupool_broker.store import reader
from gpupool_broker.store.errors import JournalDamaged, JournalFolded, StoreFailed
from gpupool_broker.store.fold_writer import FoldWriter, _cut_off
from gpupool_broker.store.folds import Fold
from gpupool_broker.store.records import START, Link
from gpupool_broker.store.rollups import Counted, RollupStore
from gpupool_broker.store.snapshots import Snapshot
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.store.tables import folded_use, journal
from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import Hold, Policy

HOUR_MS = 3_600_000
START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS
FOREVER = START_MS * 2
Open = Callable[[], SqlStore]


def use(at_ms: int, slice_id: str) -> f.SliceUsed:
    return f.SliceUsed(at_ms=at_ms, slice_id=slice_id, device_ns=at_ms % 10**9, throttled_ns=7, calls=2, span_ms=11_000)


def facts(hours: int = 4, every_ms: int = 20_000) -> Iterator[f.Fact]:
    """Two slices that tell for some hours, one of them moved in between; energy; and a moment after that."""
    info = DeviceInfo(device="g0", kind="null", model="m", memory_mib=1024)
    for node in "no":
        yield f.NodeJoined(at_ms=START_MS, node=node, door="d", devices=[info])
    for slice_id in "ab":
        yield f.SliceGranted(
            at_ms=START_MS,
            slice_id=slice_id,
            epoch=1,
            request_id=slice_id,
            tenant=slice_id,
            node="n",
            device="g0",
            compute_pct=10,
            memory_mib=1,
            policy=Policy.BURST,
            hold=Hold.HELD,
        )
    for at_ms in range(START_MS + every_ms, START_MS + hours * HOUR_MS, every_ms):
        if at_ms == START_MS + HOUR_MS // 2:
            yield f.SliceStranded(at_ms=at_ms, slice_id="a", epoch=2, reason="lost")
            yield f.SliceMoved(at_ms=at_ms, slice_id="a", epoch=3, node="o", device="g0")
        yield from (use(at_ms, slice_id) for slice_id in "ab")
        yield f.DevicePowered(at_ms=at_ms, node="n", device="g0", span_ms=every_ms, energy_mj=1_000_003)
    yield f.NodeLost(at_ms=START_MS + hours * HOUR_MS + 1, node="n", reason="bye")


def settle(store: SqlStore) -> None:
    """Count all there is, and take a snapshot."""
    head, rollups = store.journal.read_head(), RollupStore(store.database)
    state = MeterState(slices={}, places={}, ended=[], reservations={})
    rollups.keep(rollups.counted().seq, Counted(seq=head.seq, crc=head.crc, meter=state, entries=[]), [])
    books = Books()
    for fact in store.facts():
        books.apply(fact)
    store.snapshots.write(Snapshot(link=head, shape=SHAPE, data=freeze(books)))


def fold_all(store: SqlStore, before_ms: int = FOREVER, *, sweep: bool = True) -> int:
    writer, hours = FoldWriter(store.database, store.writer), 0
    for fold in list(next_folds(store.database, before_ms)):
        assert writer.keep(fold)
        hours += 1
    if sweep:
        writer.sweep()
    return hours


def seen(store: SqlStore) -> tuple[object, object, int]:
    """Return what the journal gives: the days (without their minutes), the books, the last record."""
    meter, books, seq = Meter(), Books(), 0
    for link, fact in store.journal.linked_facts(START):
        meter.take(fact)
        books.apply(fact)
        assert link.seq > seq
        seq = link.seq
    days = meter.days() + meter.today()
    for day in days:
        day.minutes = {}
    return days, (books.slices, books.nodes), seq


def records(store: SqlStore) -> int:
    with store.database.engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(journal)) or 0


@pytest.fixture
def told(store: SqlStore) -> SqlStore:
    store.append(list(facts()))
    settle(store)
    return store


@pytest.mark.parametrize("sweep", [True, False])
def test_what_is_folded_is_read_as_if_it_were_not(told: SqlStore, open_store: Open, sweep: bool) -> None:
    before, count = seen(told), records(told)
    assert fold_all(told, sweep=sweep) == 4
    store = open_store()
    assert seen(store) == before
    assert not list(store.journal.faults())
    assert records(store) == (7 if sweep else count)


def test_facts_behind_what_is_folded_go_on_with_the_chain(
    told: SqlStore, open_store: Open, lost: Callable[..., f.NodeLost]
) -> None:
    fold_all(told)
    told.append([lost(START_MS + 9 * HOUR_MS, node="o")])
    store = open_store()
    assert list(store.facts())[-1] == lost(START_MS + 9 * HOUR_MS, node="o")
    assert not list(store.journal.faults())


def test_folding_goes_on_where_it_stopped(told: SqlStore) -> None:
    before = seen(told)
    assert fold_all(told, START_MS + 2 * HOUR_MS) == 2
    middle = seen(told)
    assert fold_all(told) == 2
    assert fold_all(told) == 0
    assert (middle, seen(told)) == (before, before)


def test_a_kill_in_the_middle_of_a_sweep_loses_nothing(told: SqlStore, open_store: Open) -> None:
    before, count = seen(told), records(told)
    fold_all(told, sweep=False)
    pieces = iter([True] * 3)
    FoldWriter(told.database, told.writer).sweep(lambda: next(pieces, False))
    assert 7 < records(told) < count
    store = open_store()
    assert seen(store) == before
    assert not list(store.journal.faults())
    assert FoldWriter(store.database, store.writer).sweep() >= 1
    assert (seen(store), records(store)) == (before, 7)


def test_folding_is_due_when_the_next_hour_is_old_enough_and_behind_it_is_a_snapshot(store: SqlStore) -> None:
    writer = FoldWriter(store.database, store.writer)
    assert not writer.is_due(FOREVER)
    store.append(list(facts()))
    assert not writer.is_due(FOREVER)
    settle(store)
    assert [writer.is_due(START_MS + HOUR_MS - 1), writer.is_due(START_MS + HOUR_MS)] == [False, True]
    fold_all(store, START_MS + HOUR_MS)
    assert [writer.is_due(START_MS + 2 * HOUR_MS - 1), writer.is_due(START_MS + 2 * HOUR_MS)] == [False, True]
    fold_all(store)
    assert not writer.is_due(START_MS + 4 * HOUR_MS)


def test_use_that_is_not_counted_is_not_folded(store: SqlStore) -> None:
    store.append(list(facts()))
    assert not list(next_folds(store.database, FOREVER))


def test_use_behind_the_oldest_snapshot_is_not_folded(store: SqlStore) -> None:
    all_facts = list(facts())
    store.append(all_facts[:700])
    settle(store)
    store.append(all_facts[700:])
    head = store.journal.head
    rollups, state = RollupStore(store.database), MeterState(slices={}, places={}, ended=[], reservations={})
    rollups.keep(700, Counted(seq=head.seq, crc=head.crc, meter=state, entries=[]), [])
    assert fold_all(store) == 1


def test_the_running_hour_is_not_folded(store: SqlStore) -> None:
    store.append(list(facts())[:-1])
    settle(store)
    assert fold_all(store) == 3


def test_an_hour_that_is_not_old_enough_is_not_folded(told: SqlStore) -> None:
    assert fold_all(told, START_MS + 2 * HOUR_MS - 1) == 1


def test_a_fold_that_came_too_late_is_not_kept(told: SqlStore) -> None:
    fold, *_ = next_folds(told.database, FOREVER)
    writer = FoldWriter(told.database, told.writer)
    assert writer.keep(fold)
    assert not writer.keep(fold)
    other, *_ = next_folds(told.database, FOREVER)
    assert not writer.keep(Fold(other.first_seq, other.last_seq, other.crc ^ 1, other.clock_ms, other.open_quarter, other.record))


def test_who_read_a_part_of_an_hour_before_it_was_folded_is_told(told: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PAGE", 20)
    reading = told.journal.linked_facts(START)
    for _ in range(10):
        next(reading)
    fold_all(told)
    with pytest.raises(JournalFolded, match="was folded while it was read"):
        list(reading)
    assert len(list(told.journal.linked_facts(START))) > 10


@pytest.mark.parametrize("page", [1, 3, 50])
def test_pages_of_any_size_read_the_same(told: SqlStore, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    before = seen(told)
    fold_all(told, START_MS + 3 * HOUR_MS, sweep=page != 3)
    monkeypatch.setattr(reader, "PAGE", page)
    assert seen(told) == before


def test_who_stopped_within_what_was_folded_goes_on_there(told: SqlStore) -> None:
    fold_all(told)
    whole = list(told.journal.linked_facts(START))
    for number, (link, _) in enumerate(whole, 1):
        assert list(told.journal.linked_facts(link)) == whole[number:]


def test_a_record_missing_before_a_run_is_named(told: SqlStore) -> None:
    fold_all(told)
    with told.writer.begin() as connection:
        connection.execute(sa.delete(journal).where(journal.c.seq == 4))
    with pytest.raises(JournalDamaged, match="record 4 of the journal is missing"):
        list(told.facts())
    assert [fault.details["seq"] for fault in told.journal.faults()] == [4]


def test_damaged_folded_use_is_named_with_its_place(told: SqlStore) -> None:
    fold_all(told)
    with told.writer.begin() as connection:
        (first, second, *_) = connection.scalars(sa.select(folded_use.c.first_seq).order_by(folded_use.c.first_seq)).all()
        record = bytes(connection.scalar(sa.select(folded_use.c.record).where(folded_use.c.first_seq == second)) or b"")
        changed = record[:40] + bytes([record[40] ^ 1]) + record[41:]
        connection.execute(sa.update(folded_use).where(folded_use.c.first_seq == second).values(record=changed))
    with pytest.raises(JournalDamaged, match=f"the folded use of records {second} to .* cannot be read"):
        list(told.facts())
    assert [fault.details["seq"] for fault in told.journal.faults()] == [second]
    assert first == 1


def test_a_lost_fold_is_a_gap_in_the_journal(told: SqlStore) -> None:
    fold_all(told)
    with told.writer.begin() as connection:
        connection.execute(sa.delete(folded_use).where(folded_use.c.first_seq == 1))
    with pytest.raises(JournalDamaged, match=r"record 5 of the journal is missing"):
        list(told.facts())


def test_a_start_from_a_snapshot_checks_what_is_kept_and_has_the_same_books(told: SqlStore, open_store: Open) -> None:
    before = seen(told)
    fold_all(told)
    store, books = open_store(), Books()
    Recovery(store).restore(books)
    assert (books.slices, books.nodes) == before[1]


def test_a_start_without_a_snapshot_has_the_same_books(told: SqlStore, open_store: Open) -> None:
    before = seen(told)
    fold_all(told)
    with told.writer.begin() as connection:
        connection.execute(sa.text("DELETE FROM snapshots"))
    store, books = open_store(), Books()
    Recovery(store).restore(books)
    assert (books.slices, books.nodes) == before[1]
    thaw(freeze(books), Books())


def test_a_fold_stands_for_the_last_record_where_that_was_dropped(told: SqlStore, open_store: Open) -> None:
    fold_all(told)
    with told.writer.begin() as connection:
        last = connection.scalar(sa.select(sa.func.max(journal.c.seq))) or 0
        connection.execute(sa.delete(journal).where(journal.c.seq == last))
    store = open_store()
    assert store.journal.head.seq == last - 1
    store.append([f.NodeLost(at_ms=START_MS + 5 * HOUR_MS, node="n", reason="again")])
    assert not list(store.journal.faults())


def test_a_closed_month_whose_hash_counts_minutes_keeps_them(told: SqlStore) -> None:
    rollups, head = RollupStore(told.database), told.journal.read_head()
    state = MeterState(slices={}, places={}, ended=[], reservations={})
    closed = f.MonthFrozen(at_ms=1, by="x", month="2026-09", zone="UTC", sha256="0" * 64)
    rollups.keep(head.seq, Counted(seq=head.seq, crc=head.crc, meter=state, entries=[closed]), [])
    count = records(told)
    assert fold_all(told) == 4
    assert records(told) == count


def test_an_older_version_is_refused_where_use_is_folded(told: SqlStore) -> None:
    fold_all(told)
    with pytest.raises(RuntimeError, match="the use of 4 hours is folded"), told.writer.begin() as connection:
        told.database.migrate(connection, "0010")


def test_the_store_failing_leaves_the_records(told: SqlStore) -> None:
    fold, *_ = next_folds(told.database, FOREVER)
    with told.writer.begin() as connection:
        connection.execute(sa.text("ALTER TABLE folded_use RENAME TO elsewhere"))
    with pytest.raises(StoreFailed):
        FoldWriter(told.database, told.writer).keep(fold)
    with told.writer.begin() as connection:
        connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO folded_use"))
    assert FoldWriter(told.database, told.writer).keep(fold)


def test_pieces_are_as_large_as_asked() -> None:
    stretches = [(1, 3), (7, 7), (9, 30)]
    assert list(_cut_off(stretches, 10)) == [(1, 3), (7, 7), (9, 14)]
    assert stretches == [(15, 30)]


def test_the_chain_is_known_at_records_and_at_ends_of_runs(told: SqlStore) -> None:
    links = {0: Link()} | {row.seq: Link(row.seq, row.crc) for row in told.journal.checked(Link())}
    fold_all(told)
    for seq in range(0, told.journal.head.seq + 1, 11):
        found, near = told.journal.link_at(seq), told.journal.link_from(seq)
        assert found in (links[seq], None)
        assert near is not None
        assert near == links[near.seq]
    assert told.journal.link_at(told.journal.head.seq + 1) is None
    assert told.journal.link_at(0) == Link()


def test_what_is_folded_of_one_slice_is_found(told: SqlStore) -> None:
    used = sum(fact.device_ns for fact in facts() if isinstance(fact, f.SliceUsed) and fact.slice_id == "b")
    fold_all(told)
    found = told.folded_of("b", START_MS)
    assert sum(device_ns for fact in found for _, _, device_ns, *_ in fact.uses) == used
    assert sum(total[1] for fact in found for total in fact.totals) == used
    assert {use[0] for fact in found for use in fact.uses} == {"b"}
    late = told.folded_of("b", START_MS + 3 * HOUR_MS)
    assert 0 < len(late) < len(found)
    assert told.folded_of("nobody", START_MS) == []
