"""Snapshots of the books, beside the journal they shorten.

    write ──> pieces (of zlib, RFC 1950), a transaction each ──> header, the last: a snapshot without one does not exist
    newest_first ──> snapshots that are whole ── what is not, and why, goes to the log

A snapshot is never needed: where none can be read, the whole journal says the same.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import translated
from gpupool_broker.store.records import Link
from gpupool_broker.store.tables import snapshot_pieces, snapshots
from gpupool_broker.store.writer import Writer

log = logging.getLogger(__name__)

#: Turns wait for at most one piece: a few milliseconds.
PIECE_BYTES = 256 * 1024
#: Between two pieces, so that a turn that waits is next.
PAUSE_S = 0.002
#: So many are kept: the newest, and the one before in case that is damaged.
KEPT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The books behind a record of the journal."""

    link: Link
    #: What the books looked like that were taken: only the same ones can read it.
    shape: int
    data: bytes


class Snapshots:
    """The snapshots in one database."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    def write(self, snapshot: Snapshot) -> None:
        """Store a snapshot, and forget those that are too old. Raises StoreFailed."""
        seq = snapshot.link.seq
        # A tenth of the size, and the interpreter is free for turns meanwhile.
        data = zlib.compress(snapshot.data, 1)
        with self._writer.begin() as connection:
            for table in (snapshots, snapshot_pieces):
                connection.execute(sa.delete(table).where(table.c.seq == seq))
        starts = range(0, len(data), PIECE_BYTES)
        for number, start in enumerate(starts):
            piece = {"seq": seq, "number": number, "data": data[start : start + PIECE_BYTES]}
            with self._writer.begin() as connection:
                connection.execute(sa.insert(snapshot_pieces), piece)
            time.sleep(PAUSE_S)
        header = {
            "seq": seq,
            "crc": snapshot.link.crc,
            "shape": snapshot.shape,
            "size": len(data),
            "data_crc": zlib.crc32(data),
        }
        with self._writer.begin() as connection:
            connection.execute(sa.insert(snapshots), header)
        self._forget_old()

    def newest_first(self) -> Iterator[Snapshot]:
        """Yield the snapshots that are as they were written."""
        with translated(), self._database.engine.connect() as connection:
            headers = connection.execute(sa.select(snapshots).order_by(snapshots.c.seq.desc())).all()
        for seq, crc, shape, size, data_crc in headers:
            query = sa.select(snapshot_pieces.c.data).where(snapshot_pieces.c.seq == seq).order_by(snapshot_pieces.c.number)
            with translated(), self._database.engine.connect() as connection:
                data = b"".join(connection.scalars(query))
            if len(data) != size or zlib.crc32(data) != data_crc:
                ignored(seq, f"it is damaged ({len(data)} bytes of {size} are there)")
                continue
            try:
                plain = zlib.decompress(data)
            except zlib.error as error:
                ignored(seq, f"another version of gpupool wrote it ({error})")
            else:
                yield Snapshot(link=Link(seq, crc), shape=shape, data=plain)

    def _forget_old(self) -> None:
        newest = sa.select(snapshots.c.seq).order_by(snapshots.c.seq.desc()).limit(KEPT)
        with self._writer.begin() as connection:
            kept = list(connection.scalars(newest))
            for table in (snapshots, snapshot_pieces):
                connection.execute(sa.delete(table).where(table.c.seq.not_in(kept)))


def ignored(seq: int, why: str) -> None:
    """Say that a snapshot is not used."""
    log.warning("the snapshot behind record %d is ignored: %s", seq, why, extra={"action": "snapshot_ignored", "seq": seq})
