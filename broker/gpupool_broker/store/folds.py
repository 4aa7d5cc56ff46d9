"""Folded use in the database: what stands in the place of records that were told every few seconds.

    journal:     ─■─▒▒▒▒▒▒▒▒─■─▒▒▒▒▒▒▒▒▒▒─■─▒▒▒▒─┃─■─■─■─■─     ■ kept   ▒ folded, and gone once swept
    folded_use:  └── runs, sums, the chain's end ─┘

From the moment its row is stored, the row is what counts: records of its runs that are still there are not read any more.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from gpupool_broker.core.accounting.folder import Clock, Run
from gpupool_broker.core.accounting.folds import decode
from gpupool_broker.store.errors import JournalDamaged
from gpupool_broker.store.tables import folded_use

_COLUMNS = [column for column in folded_use.columns if column.name != "is_swept"]


class FoldDamaged(JournalDamaged):
    """Folded use is not what was written."""

    def __init__(self, fold: Fold, why: str) -> None:
        super().__init__(
            f"the folded use of records {fold.first_seq} to {fold.last_seq} of the journal cannot be read: {why}: restore the "
            "database from a backup",
            seq=fold.first_seq,
        )
        self.fold = fold


class Fold(msgspec.Struct, frozen=True, dict=True):
    """An hour of the clock, from its first record to its last, kept or folded."""

    first_seq: int
    last_seq: int
    #: The chain's checksum behind the last record.
    crc: int
    #: The meter's time behind it.
    clock_ms: int
    open_quarter: int
    #: `core.accounting.folds.encode` of the runs; nothing where there are none.
    record: bytes
    record_crc: int = 0

    @property
    def clock(self) -> Clock:
        """The meter's time behind its last record."""
        return Clock(self.clock_ms, self.open_quarter)

    @property
    def checksum(self) -> int:
        """Return the CRC-32 of all columns."""
        head = f"{self.first_seq} {self.last_seq} {self.crc} {self.clock_ms} {self.open_quarter} ".encode()
        return zlib.crc32(self.record, zlib.crc32(head))

    @functools.cached_property
    def runs(self) -> list[Run]:
        """The runs. Raises FoldDamaged."""
        if self.checksum != self.record_crc:
            raise FoldDamaged(self, f"its checksum is {self.record_crc:08x}, what is stored gives {self.checksum:08x}")
        try:
            return decode(self.record) if self.record else []
        except ValueError as error:
            raise FoldDamaged(self, str(error)) from error

    def row(self) -> dict[str, Any]:
        """Return it as it is stored."""
        values = {column.name: getattr(self, column.name) for column in _COLUMNS}
        return values | {"record_crc": self.checksum, "is_swept": int(not self.record)}


def numbers_between(connection: sa.Connection, after: int, last: int) -> Sequence[int]:
    """Return the first record's number of every fold that ends after one and begins at another at the latest, in order."""
    query = sa.select(folded_use.c.first_seq).where(folded_use.c.last_seq > after, folded_use.c.first_seq <= last)
    return connection.scalars(query.order_by(folded_use.c.first_seq)).all()


def load(connection: sa.Connection, first_seq: int) -> Fold:
    """Return the fold that begins with a record."""
    return Fold(*connection.execute(sa.select(*_COLUMNS).where(folded_use.c.first_seq == first_seq)).one())


def newest(connection: sa.Connection, count: int = 1) -> list[Fold]:
    """Return the newest folds, newest first."""
    query = sa.select(*_COLUMNS).order_by(folded_use.c.first_seq.desc()).limit(count)
    return [Fold(*row) for row in connection.execute(query)]


def since(connection: sa.Connection, at_ms: int) -> list[Fold]:
    """Return the folds that end after a moment, in order."""
    query = sa.select(*_COLUMNS).where(folded_use.c.clock_ms > at_ms).order_by(folded_use.c.first_seq)
    return [Fold(*row) for row in connection.execute(query)]


def covering(connection: sa.Connection, seq: int) -> Fold | None:
    """Return the fold a record belongs to, kept or folded."""
    query = sa.select(*_COLUMNS).where(folded_use.c.first_seq <= seq, folded_use.c.last_seq >= seq)
    row = connection.execute(query).first()
    return None if row is None else Fold(*row)
