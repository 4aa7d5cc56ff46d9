"""Which hour of use can be folded next, and what it is folded to. Only reads: the broker stores it.

journal behind the last fold ──an hour of the clock──> Folder ──> Fold
"""

from __future__ import annotations

from collections.abc import Iterator

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.core.accounting.folder import HOUR_MS, Clock, Folder
from gpupool_broker.core.accounting.folds import encode
from gpupool_broker.core.accounting.grid import DAY_MS
from gpupool_broker.store import folds
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import translated
from gpupool_broker.store.fold_writer import is_settled
from gpupool_broker.store.folds import Fold
from gpupool_broker.store.reader import JournalReader, fact_of
from gpupool_broker.store.records import START, Link
from gpupool_broker.store.rollups import RollupStore


def next_folds(database: Database, before_ms: int) -> Iterator[Fold]:
    """Yield the folds of the next hours that ended before a moment and are settled.

    Raises JournalDamaged: what is damaged is not folded.
    """
    with translated(), database.engine.connect() as connection:
        last, *others = [*folds.newest(connection, 2), None]
    start, clock = (Link(last.last_seq, last.crc), last.clock) if last else (START, Clock())
    ended = _ended_in(database, last, others[0]) if last else set[str]()
    closed = _closed_hours(database)
    folder, end = Folder(clock, ended), start
    for place, fact in JournalReader(database).linked_facts(start):
        after = folder.clock.after(fact)
        if end != start and after.hour > folder.clock.hour:
            if not _is_settled(database, end):
                return
            yield _fold(start, end, folder, keeps_all=folder.clock.hour in closed)
            folder, start = Folder(folder.clock, folder.ended), end
        if (after.hour + 1) * HOUR_MS > before_ms:
            return
        folder.take(*place, fact)
        end = place


def _is_settled(database: Database, end: Link) -> bool:
    with translated(), database.engine.connect() as connection:
        return is_settled(connection, end.seq)


def _fold(before: Link, end: Link, folder: Folder, *, keeps_all: bool) -> Fold:
    """Return the fold of an hour, in which all records stay where something of it cannot be folded."""
    runs = [] if keeps_all else folder.finish()
    return Fold(
        first_seq=before.seq + 1,
        last_seq=end.seq,
        crc=end.crc,
        clock_ms=folder.clock.at_ms,
        open_quarter=folder.clock.open_quarter,
        record=(encode(runs) or b"") if runs else b"",
    )


def _closed_hours(database: Database) -> set[int]:
    """Return the hours whose minutes are in the hash of a closed month: they are kept, so that the hash can be had again."""
    months = [entry for entry in RollupStore(database).counted().entries if isinstance(entry, f.MonthFrozen)]
    periods = [period_of(month.month, month.zone) for month in months if not month.without_advice]
    # Advice looks at whole days of UTC.
    return {
        hour for period in periods for hour in range((period.start_ms - DAY_MS) // HOUR_MS, (period.end_ms + DAY_MS) // HOUR_MS)
    }


def _ended_in(database: Database, fold: Fold, before: Fold | None) -> set[str]:
    """Return the slices that ended within a fold, the newest one; `before` is the one before it."""
    link = Link(before.last_seq, before.crc) if before else START
    facts = map(fact_of, JournalReader(database).checked(link, fold.last_seq))
    return {fact.slice_id for fact in facts if isinstance(fact, f.SliceEnded)}
