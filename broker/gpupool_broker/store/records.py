"""The journal's records and the chain that protects them. Pure.

    record n:  seq, schema_version, at_ms, slice_id, record, size ──CRC-32, begun with the one of record n-1──> crc

A checksum covers every column and all that stands before, so that a flipped bit, a record gone and two that changed places are
seen. CRC-32 (IEEE 802.3, as in zlib) is against accidents: who may write to the database can also write matching checksums.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gpupool_broker.core.accounting.folder import Run
from gpupool_broker.store.errors import JournalDamaged, JournalFolded


class Record(NamedTuple):
    """One row of the journal."""

    seq: int
    schema_version: int
    at_ms: int
    slice_id: str | None
    record: bytes
    #: Bytes of `record` as it was written.
    size: int
    crc: int


class Link(NamedTuple):
    """The end of a stretch of the chain: the next record is `seq` + 1."""

    seq: int = 0
    crc: int = 0


#: Before the first record.
START = Link()


class RecordCut(JournalDamaged):
    """A record is shorter than it was written."""


WAY_OUT = "restore the database from a backup; `gpupool broker --verify-journal` lists all that is damaged"


def chained(link: Link, schema_version: int, at_ms: int, slice_id: str | None, record: bytes) -> Record:
    """Return the row that follows `link`."""
    seq = link.seq + 1
    crc = _crc(link.crc, seq, schema_version, at_ms, slice_id, len(record), record)
    return Record(seq, schema_version, at_ms, slice_id, record, len(record), crc)


def check(link: Link, row: Record) -> None:
    """Raise JournalDamaged where `row` is not what was written after `link`, RecordCut where its end is missing."""
    seq, schema_version, at_ms, slice_id, record, size, crc = row
    expected = link.seq + 1
    if seq != expected:
        raise JournalDamaged(f"record {expected} of the journal is missing (the next is {seq}): {WAY_OUT}", seq=expected)
    if len(record) < size:
        raise RecordCut(f"record {seq} of the journal is cut: {len(record)} bytes of {size} are there: {WAY_OUT}", seq=seq)
    found = _crc(link.crc, seq, schema_version, at_ms, slice_id, size, record)
    if found != crc:
        raise JournalDamaged(
            f"record {seq} of the journal cannot be read: its checksum is {crc:08x}, what is stored gives {found:08x}: {WAY_OUT}",
            seq=seq,
        )


def check_run(link: Link, run: Run) -> None:
    """Raise JournalDamaged where records between `link` and a run that was folded are missing, JournalFolded within one."""
    expected = link.seq + 1
    if run.first > expected:
        raise JournalDamaged(
            f"record {expected} of the journal is missing (the next was folded with {run.first} to {run.last}): {WAY_OUT}",
            seq=expected,
        )
    if run.first < expected:
        raise JournalFolded(f"the use in records {run.first} to {run.last} was folded while it was read: read again")


def passed(link: Link, step: Record | Run) -> Link:
    """Return the chain's state behind what follows `link`. Raises as `check` and `check_run`."""
    if isinstance(step, Record):
        check(link, step)
    else:
        check_run(link, step)
    return behind(step)


def faults(link: Link, steps: Iterable[Record | Run]) -> Iterator[JournalDamaged]:
    """Yield what is wrong with what follows `link`, each fault once: behind one, the chain is taken up anew."""
    for step in steps:
        try:
            passed(link, step)
        except JournalDamaged as damage:
            yield damage
        link = behind(step)


def behind(step: Record | Run) -> Link:
    """Return the chain's state behind a record or a run, unchecked."""
    return Link(step.seq, step.crc) if isinstance(step, Record) else Link(step.last, step.crc)


def _crc(before: int, seq: int, schema_version: int, at_ms: int, slice_id: str | None, size: int, record: bytes) -> int:
    head = f"{seq} {schema_version} {at_ms} {slice_id or ''} {size} ".encode()
    return zlib.crc32(record, zlib.crc32(head, before))
