"""Rows as a table of text."""

from __future__ import annotations

from collections.abc import Sequence

from gpupool.profiling.rows import Row

_HEADS = ("", "calls", "raw up", "on wire", "raw down", "on wire", "queue", "throttle", "execution", "transfer", "total")
#: Rows that are shown; the rest are summed up in one line.
SHOWN_ROWS = 30
_KINDS = {"model": "model", "open": "open", "arrays": "xp"}


def table(rows: Sequence[Row], total: Row) -> str:
    """Return a table, times in milliseconds: rows as they come, those beyond SHOWN_ROWS counted, then the total."""
    lines = [_HEADS, *map(_cells, rows[:SHOWN_ROWS])]
    if len(rows) > SHOWN_ROWS:
        lines.append((f"... and {len(rows) - SHOWN_ROWS} more kinds", *[""] * (len(_HEADS) - 1)))
    lines.append(_cells(total))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    name = row.name if row.kind == "all" else f"{_KINDS[row.kind]} {row.name}"
    which = ", ".join(f"{count} {what}" for count, what in ((row.failed, "failed"), (row.batched, "batched")) if count)
    calls = f"{row.calls} ({which})" if which else str(row.calls)
    moved = (row.raw_sent_bytes, row.wire_sent_bytes, row.raw_received_bytes, row.wire_received_bytes)
    parts = (row.queue_ns, row.throttle_ns, row.execute_ns, row.transfer_ns)
    split = ["-"] * len(parts) if row.kind == "open" else [_ms(part) for part in parts]
    return (name, calls, *map(_bytes, moved), *split, _ms(row.total_ns))


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.1f}"


def _bytes(nbytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if nbytes >= size:
            return f"{nbytes / size:.1f} {unit}"
    return f"{nbytes} B"
