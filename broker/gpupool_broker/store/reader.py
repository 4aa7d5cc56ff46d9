"""Reading the journal: facts in order, checked on the way. Needs no right to write, and holds no transaction open.

journal ──pages──> records ──check──> facts        or every fault there is, for `gpupool broker --verify-journal`
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from gpupool_broker.core.facts import AnyFact, decode_fact
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import JournalDamaged, translated
from gpupool_broker.store.records import START, WAY_OUT, Link, Record, check, faults
from gpupool_broker.store.tables import journal

#: Records read at a time: some megabytes.
PAGE = 10_000


class JournalReader:
    """Reads the journal of one database, from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self, after: Link = START) -> Iterator[AnyFact]:
        """Yield every fact after `after`, oldest first. Raises JournalDamaged, with its position, at the first that is none."""
        for row in self.checked(after):
            yield fact_of(row)

    def checked(self, after: Link, until: int | None = None) -> Iterator[Record]:
        """Yield the records after `after`, up to number `until`, each checked. Raises JournalDamaged."""
        for row in self._rows(after.seq, until):
            check(after, row)
            after = Link(row.seq, row.crc)
            yield row

    def facts_of(self, slice_id: str) -> list[AnyFact]:
        """Return the facts of one slice, oldest first."""
        query = sa.select(journal).where(journal.c.slice_id == slice_id).order_by(journal.c.seq)
        with translated(), self._database.engine.connect() as connection:
            return [fact_of(Record(*row)) for row in connection.execute(query)]

    def faults(self) -> Iterator[JournalDamaged]:
        """Yield everything that is wrong with the journal."""
        return faults(START, self._rows(0))

    def link_at(self, seq: int) -> Link | None:
        """Return the chain's state behind a record, unchecked; None where there is no such record."""
        if seq == 0:
            return START
        row = next(self._rows(seq - 1, seq), None)
        return None if row is None else Link(row.seq, row.crc)

    def _rows(self, after: int, until: int | None = None) -> Iterator[Record]:
        """Yield the records after number `after`, unchecked, a page at a time: no transaction is held open over it."""
        while True:
            query = sa.select(journal).where(journal.c.seq > after).order_by(journal.c.seq).limit(PAGE)
            if until is not None:
                query = query.where(journal.c.seq <= until)
            with translated(), self._database.engine.connect() as connection:
                # The driver's own rows: SQLAlchemy's would take as long again.
                page = [Record._make(row) for row in connection.execute(query).cursor.fetchall()]
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].seq

    def read_head(self) -> Link:
        """Return the last record's link."""
        query = sa.select(journal.c.seq, journal.c.crc).order_by(journal.c.seq.desc()).limit(1)
        with translated(), self._database.engine.connect() as connection:
            row = connection.execute(query).first()
        return START if row is None else Link(*row)


def fact_of(row: Record) -> AnyFact:
    """Return the fact of a record; raise JournalDamaged, with its position, where it is none."""
    try:
        return decode_fact(row.record)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise JournalDamaged(f"record {row.seq} of the journal cannot be read: {error}: {WAY_OUT}", seq=row.seq) from error
