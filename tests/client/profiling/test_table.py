"""Rows as text."""

from __future__ import annotations

from collections.abc import Callable

from gpupool.profiling import Span
from gpupool.profiling.rows import Rows
from gpupool.profiling.table import table


def test_columns_line_up_and_units_are_readable(span: Callable[..., Span]) -> None:
    rows = Rows([span(raw_sent_bytes=5_300_000), span(kind="open", name="rec.onnx"), span(error="limit")])
    lines = table(rows.largest_first, rows.total).splitlines()
    assert lines[0].split() == [
        *("calls", "raw", "up", "on", "wire", "raw", "down", "on", "wire", "queue", "throttle", "execution", "transfer", "total"),
    ]
    assert lines[1].split() == [
        *("model", "rec.onnx", "2", "(1", "failed)", "5.3", "MB", "2.0", "KB", "16.0", "KB", "6.0", "KB"),
        *("2.0", "4.0", "8.0", "6.0", "20.0"),
    ]
    assert lines[2].split()[-5:] == ["-", "-", "-", "-", "10.0"]
    assert lines[3].startswith("all ")
    assert len({line.rindex(line.split()[-1]) + len(line.split()[-1]) for line in lines}) == 1


def test_calls_in_batches_are_told(span: Callable[..., Span]) -> None:
    rows = Rows([span(batched=4), span(batched=4), span(), span(error="limit")])
    assert "4 (1 failed, 2 batched)" in table(rows.largest_first, rows.total)
    assert rows.total.batched == 2


def test_a_long_tail_is_counted(span: Callable[..., Span]) -> None:
    rows = Rows(span(name=f"m{number}") for number in range(40))
    lines = table(rows.largest_first, rows.total).splitlines()
    assert lines[-2] == "... and 10 more kinds"
    assert len(lines) == 33
