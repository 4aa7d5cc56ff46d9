"""Writing the journal. What `append` returned from survives a kill -9.

facts ──append──> records chained to the last ──one transaction──> journal
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import sqlalchemy as sa

from gpupool_broker.core.facts import SCHEMA_VERSION, Fact, encode_fact
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import translated
from gpupool_broker.store.reader import JournalReader
from gpupool_broker.store.records import Link, Record, chained
from gpupool_broker.store.tables import journal
from gpupool_broker.store.writer import Writer

log = logging.getLogger(__name__)


class Journal(JournalReader):
    """The facts of one database. Written by one thread."""

    def __init__(self, database: Database, writer: Writer) -> None:
        super().__init__(database)
        self._writer = writer
        self._head = self.read_head()

    def __repr__(self) -> str:
        return f"<Journal of {self._head.seq} records>"

    @property
    def head(self) -> Link:
        """The last record, as far as this broker knows it to be stored."""
        return self._head

    def append(self, facts: Sequence[Fact]) -> None:
        """Write facts in one transaction, durable when this returns.

        Raises StoreFailed, and then none of them is stored; RightLost, and then that is not known.
        """
        head, rows = self._head, []
        for fact in facts:
            row = chained(head, SCHEMA_VERSION, fact.at_ms, getattr(fact, "slice_id", None), encode_fact(fact))
            head = Link(row.seq, row.crc)
            rows.append(row)
        with self._writer.begin() as connection:
            self._database.insert(connection, rows)
        self._head = head

    def recover(self) -> None:
        """Take the journal as it is stored: drop a last record whose end is missing, and say so. Nothing else is ever dropped."""
        self._head = self.read_head()
        if self._database.was_cut:
            log.warning(
                "the database ends in the middle of a commit, which nobody was told of and which is dropped: "
                "record %d is the last of the journal",
                self._head.seq,
                extra={"action": "commit_dropped", "seq": self._head.seq},
            )
            self._database.was_cut = False
        last = self._record(self._head.seq)
        if last is None or len(last.record) >= last.size:
            return
        log.error(
            "record %d of the journal, the last one, was cut in the middle (%d bytes of %d): it is dropped",
            last.seq,
            len(last.record),
            last.size,
            extra={"action": "record_dropped", "seq": last.seq},
        )
        with self._writer.begin() as connection:
            connection.execute(sa.delete(journal).where(journal.c.seq == last.seq))
        self._head = self.read_head()

    def _record(self, seq: int) -> Record | None:
        with translated(), self._database.engine.connect() as connection:
            row = connection.execute(sa.select(journal).where(journal.c.seq == seq)).first()
        return None if row is None else Record(*row)
