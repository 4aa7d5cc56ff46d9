"""Writing folded use, and taking the records it stands for out of the journal.

    keep ──one transaction: checked again, stored──> what is read from now on ──sweep──> records gone, some a transaction

A kill between any two steps loses nothing: before the row is stored the records count, afterwards the row does, and what was not
swept is swept the next time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Final

import sqlalchemy as sa

from gpupool_broker.core.accounting.folder import HOUR_MS, Clock
from gpupool_broker.store import folds
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import translated
from gpupool_broker.store.folds import Fold
from gpupool_broker.store.report_tables import rollup_state
from gpupool_broker.store.tables import folded_use, journal, snapshots
from gpupool_broker.store.writer import Writer

#: A turn waits for at most one transaction of a sweep: as many records are taken out at once as take about so long.
PIECE_S: Final = 0.004
FEWEST, MOST = 20, 5_000
#: Between two of them, so that a turn that waits is next.
PAUSE_S: Final = 0.004


class FoldWriter:
    """Owns nothing: writes by the broker's right. Used by one thread at a time."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._piece = FEWEST

    def is_due(self, before_ms: int) -> bool:
        """Whether it is worth working out a fold: the next hour ended before a moment, and a snapshot is behind its beginning."""
        with translated(), self._database.engine.connect() as connection:
            last = next(iter(folds.newest(connection)), None)
            seq, clock = (last.last_seq, last.clock) if last else (0, Clock())
            at_ms = connection.scalar(sa.select(journal.c.at_ms).where(journal.c.seq == seq + 1))
            oldest = connection.scalar(sa.select(sa.func.min(snapshots.c.seq)))
        if at_ms is None or oldest is None or oldest <= seq:
            return False
        return bool((max(at_ms, clock.at_ms) // HOUR_MS + 1) * HOUR_MS <= before_ms)

    def keep(self, fold: Fold) -> bool:
        """Store a fold, durable when this returns; return False where it does not, or not yet, fit what is stored.

        Raises StoreFailed, and then it is not stored.
        """
        with self._writer.begin() as connection:
            fits = _follows(connection, fold) and is_settled(connection, fold.last_seq)
            if fits:
                connection.execute(sa.insert(folded_use), fold.row())
        return fits

    def sweep(self, goes_on: Callable[[], bool] = lambda: True) -> int:
        """Take the records that folds stand for out of the journal, as long as it goes on; return of how many folds."""
        with translated(), self._database.engine.connect() as connection:
            query = sa.select(folded_use.c.first_seq).where(folded_use.c.is_swept == 0).order_by(folded_use.c.first_seq)
            numbers = connection.scalars(query).all()
        return sum(self._sweep(number, goes_on) for number in takewhile(lambda _: goes_on(), numbers))

    def _sweep(self, number: int, goes_on: Callable[[], bool]) -> bool:
        with translated(), self._database.engine.connect() as connection:
            fold = folds.load(connection, number)
        stretches = [(run.first, run.last) for run in fold.runs]
        while stretches:
            if not goes_on():
                return False
            piece = list(_cut_off(stretches, self._piece))
            start = time.monotonic()
            with self._writer.begin() as connection:
                for first, last in piece:
                    connection.execute(sa.delete(journal).where(journal.c.seq.between(first, last)))
            took_s = time.monotonic() - start
            self._piece = max(FEWEST, min(MOST, self._piece * 2 if took_s < PIECE_S / 2 else int(self._piece * PIECE_S / took_s)))
            time.sleep(PAUSE_S)
        with self._writer.begin() as connection:
            connection.execute(sa.update(folded_use).where(folded_use.c.first_seq == number).values(is_swept=1))
        return True


def is_settled(connection: sa.Connection, seq: int) -> bool:
    """Whether a record may be folded: it is counted, no snapshot that is kept ends before it, and it is not the last.

    Whoever goes on from a place that is kept so goes on behind all folds, and whoever begins anew reads them whole.
    """
    counted = connection.scalar(sa.select(rollup_state.c.seq).where(rollup_state.c.id == 1))
    oldest = connection.scalar(sa.select(sa.func.min(snapshots.c.seq)))
    last = connection.scalar(sa.select(sa.func.max(journal.c.seq)))
    return all(known is not None and known >= needed for known, needed in ((counted, seq), (oldest, seq), (last, seq + 1)))


def _follows(connection: sa.Connection, fold: Fold) -> bool:
    """Whether a fold follows the newest one and ends with the record it names."""
    before = next(iter(folds.newest(connection)), None)
    crc = connection.scalar(sa.select(journal.c.crc).where(journal.c.seq == fold.last_seq))
    return fold.first_seq == (before.last_seq + 1 if before else 1) and crc == fold.crc


def _cut_off(stretches: list[tuple[int, int]], count: int) -> Iterator[tuple[int, int]]:
    """Take stretches of `count` records together off the front of a list."""
    while stretches and count > 0:
        first, last = stretches.pop(0)
        end = min(last, first + count - 1)
        count -= end - first + 1
        if end < last:
            stretches.insert(0, (end + 1, last))
        yield first, end
