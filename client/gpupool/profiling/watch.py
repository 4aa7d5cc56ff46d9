"""What sees every exchange of a slice while somebody wants to know: it asks the worker, and hands a Span to whoever listens.

A slice nobody profiles has no watch: its calls pay one look at an attribute.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence

from gpupool.link import Link
from gpupool.profiling.spans import Moved, Span, moved
from gpupool.traffic import Traffic
from gpupool_wire.errors import GpupoolError
from gpupool_wire.messages import Message, WorkerToClient
from gpupool_wire.tensors import Buffer

Sink = Callable[[Span], object]


class Watch:
    """Asks, and tells. Thread-safe."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = tuple(sinks)

    def __repr__(self) -> str:
        return f"<Watch, {len(self.sinks)} listen>"

    def call(
        self, link: Link, kind: str, name: str, question: Message, frames: Sequence[Buffer], operations: Sequence[str] = ()
    ) -> tuple[WorkerToClient, list[Buffer]]:
        """Ask as Link.call does, and tell what it took. `operations` are the names of an Operate's operations."""
        counted = Traffic()
        start_ns = time.monotonic_ns()
        try:
            answer, received = link.call(question, frames, counted=counted)
        except BaseException as error:
            took_ns = time.monotonic_ns() - start_ns
            code = error.code if isinstance(error, GpupoolError) else "interrupted"
            self._tell(_span(kind, name, start_ns, took_ns, moved(question, None, operations), counted, code))
            raise
        took_ns = time.monotonic_ns() - start_ns
        self._tell(_span(kind, name, start_ns, took_ns, moved(question, answer, operations), counted, ""))
        return answer, received

    def _tell(self, span: Span) -> None:
        for sink in self.sinks:
            sink(span)


def _span(kind: str, name: str, start_ns: int, wall_ns: int, known: Moved, counted: Traffic, error: str) -> Span:
    return Span(
        kind=kind,
        name=name,
        pid=os.getpid(),
        thread_id=threading.get_native_id(),
        thread=threading.current_thread().name,
        start_ns=start_ns,
        wall_ns=wall_ns,
        queue_ns=known.timing.queue_ns,
        throttle_ns=known.timing.throttle_ns,
        execute_ns=known.timing.execute_ns,
        raw_sent_bytes=known.raw_sent_bytes,
        raw_received_bytes=known.raw_received_bytes,
        wire_sent_bytes=counted.sent_bytes,
        wire_received_bytes=counted.received_bytes,
        parts=known.parts,
        error=error,
        batched=known.timing.batched,
    )
