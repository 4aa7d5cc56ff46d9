"""Sums of exchanges."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool.profiling import Part, Span
from gpupool.profiling.rows import Row, Rows, shares

MS = 1_000_000
Make = Callable[..., Span]


def test_calls_of_one_model_are_one_row(span: Make) -> None:
    rows = Rows([span(), span(), span(name="det.onnx", error="worker_lost")])
    rec, det = rows.largest_first
    assert (rec.name, rec.calls, rec.failed) == ("rec.onnx", 2, 0)
    assert (rec.raw_sent_bytes, rec.wire_sent_bytes, rec.raw_received_bytes, rec.wire_received_bytes) == (
        8_000,
        2_000,
        16_000,
        6_000,
    )
    assert (rec.queue_ns, rec.throttle_ns, rec.execute_ns, rec.transfer_ns) == (2 * MS, 4 * MS, 8 * MS, 6 * MS)
    assert (det.name, det.failed) == ("det.onnx", 1)
    assert rows.total.total_ns == 30 * MS


def test_a_batch_is_shared_out_among_its_operations(span: Make) -> None:
    parts = (
        Part(name="asarray", calls=1, raw_sent_bytes=1_000_000, execute_ns=1),
        Part(name="matmul", calls=3, execute_ns=3),
        Part(name="read", calls=1, raw_received_bytes=400),
    )
    rows = {row.name: row for row in Rows([span(kind="arrays", parts=parts)]).largest_first}
    assert (rows["matmul"].calls, rows["matmul"].execute_ns, rows["asarray"].execute_ns) == (3, 3 * MS, MS)
    assert rows["asarray"].wire_sent_bytes > 990
    assert rows["read"].execute_ns == 0
    assert rows["read"].raw_received_bytes == 400


def test_opening_a_model_tells_its_wait_only(span: Make) -> None:
    (row,) = Rows([span(kind="open", queue_ns=0, throttle_ns=0, execute_ns=0)]).largest_first
    assert (row.total_ns, row.transfer_ns) == (10 * MS, 0)


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**12), min_size=1).filter(any))
def test_shares_add_up(total: int, weights: list[int]) -> None:
    given_out = shares(total, weights)
    assert sum(given_out) == total
    assert all(share >= 0 for share in given_out)


@pytest.mark.parametrize("field", ["wire_sent_bytes", "queue_ns", "throttle_ns", "execute_ns", "transfer_ns"])
def test_rows_add_up_to_what_was_measured(span: Make, field: str) -> None:
    parts = tuple(Part(name=f"op{n}", calls=n, raw_sent_bytes=n * 7) for n in range(1, 12))
    spans = [span(), span(kind="arrays", parts=parts), span(kind="arrays", parts=parts[:3])]
    assert getattr(Rows(spans).total, field) == sum(getattr(one, field) for one in spans)
    assert isinstance(Rows(spans).total, Row)
