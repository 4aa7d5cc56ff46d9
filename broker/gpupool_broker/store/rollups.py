"""The days the meter made, and where in the journal it stands. Read and written by the process that makes reports.

journal ──seq > state──> Meter ──> rollups + state, one transaction
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import sqlalchemy as sa

from gpupool_broker.core.accounting.days import Day
from gpupool_broker.core.accounting.meter import MeterState
from gpupool_broker.core.facts import AnyFact, CarbonSet, MonthFrozen, PriceSet
from gpupool_broker.core.folded import UseFolded
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import translated
from gpupool_broker.store.reader import JournalReader
from gpupool_broker.store.records import Link
from gpupool_broker.store.report_tables import rollup_state, rollups

_record = msgspec.msgpack.Encoder()
_day: msgspec.msgpack.Decoder[Day] = msgspec.msgpack.Decoder(Day)


class Counted(msgspec.Struct):
    """How far the journal is counted, and all that is needed to go on."""

    #: The last record that is counted, and its checksum.
    seq: int
    crc: int
    meter: MeterState
    #: Prices, factors and closings so far, in order.
    entries: list[PriceSet | CarbonSet | MonthFrozen]
    #: The last day whose quarter hours were looked at for dropping.
    thinned_day: int = 0


class RollupStore:
    """Days and state. The tables are the broker's to make.

    They are written without the right to the journal: what is in them is derived from it, by whoever counts, to the same figures.
    """

    def __init__(self, database: Database) -> None:
        self._journal = JournalReader(database)
        self._engine = database.engine

    def counted(self) -> Counted:
        """Return how far the journal is counted; from its beginning where nothing is yet, or where the state cannot be read."""
        with translated(), self._engine.connect() as connection:
            record = connection.scalar(sa.select(rollup_state.c.record).where(rollup_state.c.id == 1))
        if record is not None:
            try:
                return msgspec.msgpack.decode(record, type=Counted)
            except msgspec.MsgspecError:
                # Of another version: everything is counted again from the journal, to the same figures.
                self._forget()
        return Counted(seq=0, crc=0, meter=MeterState(slices={}, places={}, ended=[], reservations={}), entries=[])

    def _forget(self) -> None:
        with translated(), self._engine.begin() as connection:
            connection.execute(sa.delete(rollup_state))
            connection.execute(sa.delete(rollups))

    def facts_after(self, link: Link) -> Iterator[tuple[Link, AnyFact | UseFolded]]:
        """Yield (place in the journal, fact) after a place, checked on the way. Raises JournalDamaged, with its position."""
        return self._journal.linked_facts(link)

    def keep(self, before: int, counted: Counted, days: Sequence[Day]) -> bool:
        """Keep days and state in one transaction; return False where another process has counted on from `before` meanwhile."""
        rows = [
            {
                "day": day.day,
                "node": day.node,
                "device": day.device,
                "tenant": day.tenant,
                "record": _record.encode(day),
                "is_fine": int(day.cells is not None),
            }
            for day in days
        ]
        state = {"seq": counted.seq, "record": _record.encode(counted)}
        with translated(), self._engine.begin() as connection:
            # Written first, so that a second writer waits here and then finds that it comes too late.
            changed = connection.execute(
                sa.update(rollup_state).where(rollup_state.c.id == 1, rollup_state.c.seq == before).values(**state)
            ).rowcount
            if not changed:
                if connection.scalar(sa.select(rollup_state.c.seq).where(rollup_state.c.id == 1)) is not None:
                    return False
                connection.execute(sa.insert(rollup_state), {"id": 1, **state})
            if before == 0:
                connection.execute(sa.delete(rollups))
            if rows:
                connection.execute(sa.insert(rollups), rows)
        return True

    def days(self, first: int, last: int) -> list[Day]:
        """Return the records of the UTC days first..last (inclusive), oldest first."""
        query = sa.select(rollups.c.record).where(rollups.c.day.between(first, last)).order_by(*rollups.primary_key.columns)
        with translated(), self._engine.connect() as connection:
            return [_day.decode(record) for (record,) in connection.execute(query)]

    def first_day(self) -> int | None:
        """Return the oldest day there is a record of."""
        with translated(), self._engine.connect() as connection:
            day: int | None = connection.scalar(sa.select(sa.func.min(rollups.c.day)))
        return day

    def thin(self, number: int) -> int:
        """Drop the quarter hours of a day; return of how many records. Its totals stay."""
        fine = sa.select(rollups).where(rollups.c.day == number, rollups.c.is_fine == 1)
        with translated(), self._engine.begin() as connection:
            rows = connection.execute(fine).mappings().all()
            for row in rows:
                day = _day.decode(row["record"])
                day.cells = None
                which = [rollups.c[name] == row[name] for name in ("day", "node", "device", "tenant")]
                connection.execute(sa.update(rollups).where(*which).values(record=_record.encode(day), is_fine=0))
        return len(rows)
