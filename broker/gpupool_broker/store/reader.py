"""Reading the journal: facts in order, checked on the way. Needs no right to write, and holds no transaction open.

journal ──pages──> records ─┬─check──> facts        or every fault there is, for `gpupool broker --verify-journal`
folded_use ─────> runs ─────┘
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from gpupool_broker.core.accounting.folder import Run
from gpupool_broker.core.facts import AnyFact, decode_fact
from gpupool_broker.core.folded import UseFolded
from gpupool_broker.store import folds
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import JournalDamaged, JournalFolded, translated
from gpupool_broker.store.records import START, WAY_OUT, Link, Record, behind, faults, passed
from gpupool_broker.store.tables import folded_use, journal

#: Records read at a time: some megabytes.
PAGE = 10_000


class JournalReader:
    """Reads the journal of one database, from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self, after: Link = START) -> Iterator[AnyFact | UseFolded]:
        """Yield every fact after `after`, oldest first. Raises JournalDamaged, with its position, at the first that is none."""
        for _, fact in self.linked_facts(after):
            yield fact

    def linked_facts(self, after: Link) -> Iterator[tuple[Link, AnyFact | UseFolded]]:
        """Yield every fact after `after` with its place in the chain: to go on from there is to go on behind it.

        Raises JournalDamaged, with its position; JournalFolded where records were folded after some of them were read.
        """
        for step in self._steps(after.seq):
            after = passed(after, step)
            if isinstance(step, Record):
                yield after, fact_of(step)
            elif step.fact is not None:
                yield after, step.fact

    def checked(self, after: Link, until: int | None = None) -> Iterator[Record]:
        """Yield the records after `after`, up to number `until`, each checked. Raises JournalDamaged."""
        for step in self._steps(after.seq, until):
            after = passed(after, step)
            if isinstance(step, Record):
                yield step

    def facts_of(self, slice_id: str) -> list[AnyFact]:
        """Return the facts of one slice that are kept, oldest first."""
        query = sa.select(journal).where(journal.c.slice_id == slice_id).order_by(journal.c.seq)
        with translated(), self._database.engine.connect() as connection:
            return [fact_of(Record(*row)) for row in connection.execute(query)]

    def folded_of(self, slice_id: str, since_ms: int) -> list[UseFolded]:
        """Return what is folded of one slice's use since a moment (wall clock), an hour of the clock at a time, oldest first."""
        with translated(), self._database.engine.connect() as connection:
            found = [run.fact for fold in folds.since(connection, since_ms) for run in fold.runs]
        return [part for fact in found if fact is not None and (part := fact.of(slice_id)) is not None]

    def faults(self) -> Iterator[JournalDamaged]:
        """Yield everything that is wrong with the journal."""
        link = START
        while True:
            try:
                yield from faults(link, self._steps(link.seq))
            except folds.FoldDamaged as damage:
                yield damage
                link = Link(max(damage.fold.last_seq, link.seq + 1), damage.fold.crc)
            else:
                return

    def link_at(self, seq: int) -> Link | None:
        """Return the chain's state behind a record, unchecked; None where it is neither kept nor the last of its run."""
        link = self.link_from(seq)
        return link if link is None or link.seq == seq else None

    def link_from(self, seq: int) -> Link | None:
        """Return the chain's state behind a record, or behind the run it was folded with; None where there is neither."""
        if seq == 0:
            return START
        with translated(), self._database.engine.connect() as connection:
            fold = folds.covering(connection, seq)
            run = next((run for run in fold.runs if run.last >= seq), None) if fold else None
            if run is not None and run.first <= seq:
                return behind(run)
            row = connection.execute(sa.select(journal.c.seq, journal.c.crc).where(journal.c.seq == seq)).first()
        return None if row is None else Link(*row)

    def read_head(self) -> Link:
        """Return the last record's link."""
        with translated(), self._database.engine.connect() as connection:
            return max(
                _last(connection, journal.c.seq, journal.c.crc), _last(connection, folded_use.c.last_seq, folded_use.c.crc)
            )

    def _steps(self, after: int, until: int | None = None) -> Iterator[Record | Run]:
        """Yield the records after number `after`, and the runs in the place of others, unchecked.

        A page is read at a time, and after its records the folds among them: what was folded in between is known then.
        """
        known: set[int] | None = None
        while True:
            with translated(), self._database.engine.connect() as connection:
                page = _page(connection, after, until)
                numbers = folds.numbers_between(connection, after, page[-1].seq) if page else []
            if known is not None and any(number <= after and number not in known for number in numbers):
                raise JournalFolded("use was folded while it was read: read again")
            known = (known or set()) | set(numbers)
            waiting, runs, last = deque(numbers), deque[Run](), after
            for row in page:
                while waiting and waiting[0] <= row.seq:
                    runs.extend(run for run in self._load(waiting.popleft()).runs if run.last > after)
                while runs and runs[0].first <= row.seq:
                    run = runs.popleft()
                    yield run
                    last = run.last
                if row.seq > last:
                    yield row
                    last = row.seq
            if len(page) < PAGE:
                return
            after = last

    def _load(self, number: int) -> folds.Fold:
        with translated(), self._database.engine.connect() as connection:
            return folds.load(connection, number)


def _page(connection: sa.Connection, after: int, until: int | None) -> list[Record]:
    query = sa.select(journal).where(journal.c.seq > after).order_by(journal.c.seq).limit(PAGE)
    if until is not None:
        query = query.where(journal.c.seq <= until)
    # The driver's own rows: SQLAlchemy's would take as long again.
    return [Record._make(row) for row in connection.execute(query).cursor.fetchall()]


def _last(connection: sa.Connection, seq: sa.Column[int], crc: sa.Column[int]) -> Link:
    row = connection.execute(sa.select(seq, crc).order_by(seq.desc()).limit(1)).first()
    return START if row is None else Link(*row)


def fact_of(row: Record) -> AnyFact:
    """Return the fact of a record; raise JournalDamaged, with its position, where it is none."""
    try:
        return decode_fact(row.record)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise JournalDamaged(f"record {row.seq} of the journal cannot be read: {error}: {WAY_OUT}", seq=row.seq) from error
