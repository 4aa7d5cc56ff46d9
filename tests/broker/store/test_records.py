"""The chain of records: every change of what was written is seen, and where it is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_broker.store.errors import JournalDamaged
from gpupool_broker.store.records import Link, Record, RecordCut, chained, check, faults


def chain(count: int) -> list[Record]:
    rows: list[Record] = []
    for number in range(count):
        link = Link(rows[-1].seq, rows[-1].crc) if rows else Link()
        rows.append(chained(link, 1, 1_000 + number, f"s{number}" if number % 2 else None, bytes([number]) * (number + 1)))
    return rows


ROWS = chain(6)


def test_what_was_written_is_found_whole() -> None:
    assert not list(faults(Link(), ROWS))


@given(st.integers(0, 5), st.data())
def test_any_flipped_bit_of_any_record_is_named_with_its_position(index: int, data: st.DataObject) -> None:
    row = ROWS[index]
    bit = data.draw(st.integers(0, len(row.record) * 8 - 1))
    record = bytearray(row.record)
    record[bit // 8] ^= 1 << bit % 8
    rows = [*ROWS[:index], row._replace(record=bytes(record)), *ROWS[index + 1 :]]
    assert [fault.details["seq"] for fault in faults(Link(), rows)] == [row.seq]


@pytest.mark.parametrize(
    "change", [{"at_ms": 1}, {"slice_id": "other"}, {"schema_version": 2}, {"size": 1}, {"crc": 7}, {"record": b"\x04" * 6}]
)
def test_every_column_is_covered(change: dict[str, object]) -> None:
    changed = ROWS[4]._replace(**change)
    found = [fault.details["seq"] for fault in faults(Link(), [*ROWS[:4], changed, *ROWS[5:]])]
    assert found[0] == 5


@dataclass(frozen=True)
class Shuffled:
    rows: list[Record]
    said: str


@pytest.mark.parametrize(
    "case",
    [
        Shuffled([ROWS[1], *ROWS[2:]], "record 1 of the journal is missing"),
        Shuffled([*ROWS[:3], *ROWS[4:]], "record 4 of the journal is missing"),
        Shuffled([ROWS[0]._replace(seq=1), ROWS[2]._replace(seq=2)], "record 2 of the journal cannot be read"),
    ],
)
def test_a_record_gone_or_in_anothers_place_is_seen(case: Shuffled) -> None:
    assert case.said in next(faults(Link(), case.rows)).message


@given(st.integers(0, 5), st.data())
def test_a_cut_record_is_told_from_a_damaged_one(index: int, data: st.DataObject) -> None:
    row = ROWS[index]
    left = data.draw(st.integers(0, len(row.record) - 1))
    before = ROWS[index - 1] if index else None
    with pytest.raises(RecordCut, match=f"record {row.seq} of the journal is cut: {left} bytes of {row.size}"):
        check(Link(before.seq, before.crc) if before else Link(), row._replace(record=row.record[:left]))


def test_a_message_says_the_way_out() -> None:
    with pytest.raises(JournalDamaged, match="restore the database from a backup"):
        check(Link(), ROWS[1])
