"""Spans as a trace that chrome://tracing, Perfetto and speedscope open: the Trace Event Format (Google), in its JSON object form.

Each exchange is a complete event ("X") on the line of the thread that waited, and its queue, throttle and execution are events
inside it. When exactly a message was on its way only both ends together could tell: transfer is drawn before and after, in
proportion to the bytes sent and received.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from gpupool.profiling.spans import Span

Event = dict[str, Any]


def events(spans: Iterable[Span]) -> Iterator[Event]:
    """Yield the events of spans: times in microseconds, processes and threads by the numbers the system gave them."""
    seen: set[tuple[int, int]] = set()
    for span in spans:
        if (span.pid, 0) not in seen:
            seen.add((span.pid, 0))
            yield {"ph": "M", "name": "process_name", "pid": span.pid, "tid": 0, "args": {"name": f"process {span.pid}"}}
        if (span.pid, span.thread_id) not in seen:
            seen.add((span.pid, span.thread_id))
            yield {"ph": "M", "name": "thread_name", "pid": span.pid, "tid": span.thread_id, "args": {"name": span.thread}}
        yield _event(span, _title(span), span.start_ns, span.wall_ns, _details(span))
        yield from _inside(span)


def write(path: Path, spans: Iterable[Span]) -> None:
    """Write a trace file. Raises OSError where it cannot be written."""
    path.write_bytes(msgspec.json.encode({"displayTimeUnit": "ms", "traceEvents": list(events(spans))}))


def _title(span: Span) -> str:
    if span.kind != "arrays":
        return f"open {span.name}" if span.kind == "open" else span.name
    calls = sum(part.calls for part in span.parts)
    return span.parts[0].name if calls == 1 else f"{calls} operations"


def _details(span: Span) -> Event:
    names = ("raw_sent_bytes", "raw_received_bytes", "wire_sent_bytes", "wire_received_bytes", "transfer_ns")
    told: Event = {name: getattr(span, name) for name in names}
    told |= {"operations": {part.name: part.calls for part in span.parts}} if span.parts else {}
    told |= {"batched": span.batched} if span.batched else {}
    return told | ({"error": span.error} if span.error else {})


def _inside(span: Span) -> Iterator[Event]:
    moved = span.wire_sent_bytes + span.wire_received_bytes
    at_ns = span.start_ns + (span.transfer_ns * span.wire_sent_bytes // moved if moved else 0)
    for name in ("queue", "throttle", "execution"):
        took_ns = getattr(span, "execute_ns" if name == "execution" else f"{name}_ns")
        # The worker's clock may tell a little more than the caller waited; events must not stick out of one another.
        took_ns = min(took_ns, span.start_ns + span.wall_ns - at_ns)
        if took_ns:
            yield _event(span, name, at_ns, took_ns, {})
        at_ns += took_ns


def _event(span: Span, name: str, start_ns: int, took_ns: int, args: Event) -> Event:
    where = {"pid": span.pid, "tid": span.thread_id}
    return {"ph": "X", "cat": span.kind, "name": name, **where, "ts": start_ns / 1000, "dur": took_ns / 1000, "args": args}
