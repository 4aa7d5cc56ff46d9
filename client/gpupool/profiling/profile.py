"""`slice.profile()`: what a program's calls of a slice cost while it lasts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from gpupool.profiling import trace
from gpupool.profiling.rows import Row, Rows
from gpupool.profiling.spans import Span
from gpupool.profiling.table import table
from gpupool.profiling.watch import Sink

#: Exchanges a trace holds, of some hundred bytes each; rows go on counting beyond.
MAX_SPANS: Final = 200_000


class Profile:
    """A context manager that collects; `print(profile)` shows the table. Thread-safe; may be entered once.

    It sees what this process calls. Programs with child processes are better run with `gpupool run --profile`.
    """

    def __init__(self, listen: Callable[[Sink], None], unlisten: Callable[[Sink], None]) -> None:
        self._listen = listen
        self._unlisten = unlisten
        self._lock = threading.Lock()
        self._rows = Rows()
        self._spans: list[Span] = []
        #: Exchanges that are counted, and not in the trace.
        self.untraced = 0

    def __repr__(self) -> str:
        return f"<Profile of {len(self._spans) + self.untraced} exchanges>"

    def __str__(self) -> str:
        with self._lock:
            return table(self._rows.largest_first, self._rows.total)

    def __enter__(self) -> Profile:
        self._listen(self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None) -> None:
        self._unlisten(self._hear)

    @property
    def rows(self) -> list[Row]:
        """A row for each model and each kind of operation, those first on which the program waited longest."""
        with self._lock:
            return self._rows.largest_first

    @property
    def total(self) -> Row:
        """Their sum."""
        with self._lock:
            return self._rows.total

    @property
    def spans(self) -> list[Span]:
        """Every exchange, in the order in which they ended."""
        with self._lock:
            return list(self._spans)

    def write_trace(self, path: str | os.PathLike[str]) -> None:
        """Write a file for chrome://tracing or ui.perfetto.dev. Raises OSError."""
        trace.write(Path(path), self.spans)

    def _hear(self, span: Span) -> None:
        with self._lock:
            self._rows.add(span)
            if len(self._spans) < MAX_SPANS:
                self._spans.append(span)
            else:
                self.untraced += 1
