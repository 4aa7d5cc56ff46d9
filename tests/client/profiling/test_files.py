"""What processes leave for whoever started them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gpupool.profiling import Span
from gpupool.profiling.files import SpanFile, collect, sink_of


def test_exchanges_of_all_processes_are_read_in_order_of_time(span: Callable[..., Span], tmp_path: Path) -> None:
    first, second, third = span(), span(), span()
    sink = sink_of({"GPUPOOL_PROFILE": str(tmp_path)})
    assert sink is not None
    sink(third)
    child = os.fork()
    if child == 0:
        sink(first)  # to a file of the child's own
        os._exit(0)
    os.waitpid(child, 0)
    sink(second)
    assert collect(tmp_path) == [first, second, third]
    assert {path.name for path in tmp_path.iterdir()} == {f"{os.getpid()}.jsonl", f"{child}.jsonl"}


def test_a_line_that_was_cut_is_left_out(span: Callable[..., Span], tmp_path: Path) -> None:
    whole = span()
    SpanFile(tmp_path)(whole)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + path.read_bytes()[:40])
    assert collect(tmp_path) == [whole]


def test_a_folder_that_is_gone_stops_nobody(span: Callable[..., Span], tmp_path: Path) -> None:
    sink = SpanFile(tmp_path / "gone")
    for _ in range(2):
        sink(span())
    assert sink_of({}) is None
