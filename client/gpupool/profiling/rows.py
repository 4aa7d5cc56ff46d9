"""Spans summed up: a row for each model and each kind of operation.

A batch has one queue, one throttle, one execution and one transfer for all of its operations. They are shared out so that rows
add up to what was measured: what happens on the device by the time each operation took, what travels by the bytes it moved.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from gpupool.profiling.spans import Part, Span

#: What an operation takes of a message beside its tensors, about.
_OPERATION_BYTES: Final = 32
_ON_DEVICE: Final = ("queue_ns", "throttle_ns", "execute_ns")
_ON_THE_WAY: Final = ("wire_sent_bytes", "wire_received_bytes", "transfer_ns")


class Row(msgspec.Struct, kw_only=True):
    """What calls of one kind cost in all."""

    kind: str
    name: str
    calls: int = 0
    failed: int = 0
    raw_sent_bytes: int = 0
    raw_received_bytes: int = 0
    wire_sent_bytes: int = 0
    wire_received_bytes: int = 0
    queue_ns: int = 0
    throttle_ns: int = 0
    execute_ns: int = 0
    transfer_ns: int = 0
    #: What callers waited. Of opening a model only this is known.
    total_ns: int = 0
    #: How many of the calls were executed in batches with others.
    batched: int = 0


class Rows:
    """The rows of a program so far."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._rows: dict[tuple[str, str], Row] = {}
        for span in spans:
            self.add(span)

    def __repr__(self) -> str:
        return f"<Rows, {len(self._rows)} kinds of calls>"

    def add(self, span: Span) -> None:
        """Add an exchange."""
        if span.parts:
            self._add_batch(span)
            return
        row = self._row(span.kind, span.name)
        row.calls += 1
        row.failed += bool(span.error)
        row.batched += bool(span.batched)
        row.raw_sent_bytes += span.raw_sent_bytes
        row.raw_received_bytes += span.raw_received_bytes
        row.wire_sent_bytes += span.wire_sent_bytes
        row.wire_received_bytes += span.wire_received_bytes
        row.total_ns += span.wall_ns
        if span.kind != "open":
            for name in (*_ON_DEVICE, "transfer_ns"):
                setattr(row, name, getattr(row, name) + getattr(span, name))

    def _add_batch(self, span: Span) -> None:
        worked = [part.execute_ns for part in span.parts]
        on_device = worked if any(worked) else [part.calls for part in span.parts]
        on_the_way = [part.raw_sent_bytes + part.raw_received_bytes + part.calls * _OPERATION_BYTES for part in span.parts]
        rows = [self._counted(span, part) for part in span.parts]
        for names, weights in ((_ON_DEVICE, on_device), (_ON_THE_WAY, on_the_way)):
            for name in names:
                for row, share in zip(rows, shares(getattr(span, name), weights), strict=True):
                    setattr(row, name, getattr(row, name) + share)
                    row.total_ns += share if name.endswith("_ns") else 0

    def _counted(self, span: Span, part: Part) -> Row:
        row = self._row(span.kind, part.name)
        row.calls += part.calls
        row.failed += part.calls if span.error else 0
        row.raw_sent_bytes += part.raw_sent_bytes
        row.raw_received_bytes += part.raw_received_bytes
        return row

    def _row(self, kind: str, name: str) -> Row:
        return self._rows.setdefault((kind, name), Row(kind=kind, name=name))

    @property
    def largest_first(self) -> list[Row]:
        """The rows, those first on which callers waited longest."""
        return sorted(self._rows.values(), key=lambda row: -row.total_ns)

    @property
    def total(self) -> Row:
        """Their sum."""
        total = Row(kind="all", name="all")
        for row in self._rows.values():
            for name in Row.__struct_fields__[2:]:
                setattr(total, name, getattr(total, name) + getattr(row, name))
        return total


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Return whole shares of a total in proportion to weights, which add up to it."""
    whole = sum(weights)
    ends = [total * reached // whole for reached in itertools.accumulate(weights)]
    return [end - start for start, end in itertools.pairwise([0, *ends])]
