"""The log of requests: one JSON document a line, written off the path.

request ──put, never waits──> bounded queue ──one thread──> file
             └── full: dropped, and counted
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

#: A few seconds of a busy service; what does not fit is dropped.
MAX_QUEUED = 4_096
#: A sink that fails is opened again after so long.
RETRY_S = 1.0
#: How long a stop waits for what is queued.
CLOSING_S = 2.0


def open_file(path: Path) -> TextIO:
    """Open a log for appending. What it says is for its operator: nobody else reads the file."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w", encoding="utf-8", buffering=1)


#: Makes of a record what is written, in the log's own thread: redaction costs the caller nothing.
Shapes = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class RequestLog:
    """Takes records from any thread and never keeps one waiting, whatever the sink does."""

    def __init__(self, opens: Callable[[], TextIO] | None, *, shapes: Shapes = dict, capacity: int = MAX_QUEUED) -> None:
        self._opens = opens
        self._shapes = shapes
        self._capacity = capacity
        self._records: deque[Mapping[str, Any]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        #: Records that were not written: the queue was full, or the sink failed.
        self.dropped = 0
        self.written = 0
        self._thread = threading.Thread(target=self._run, name="ocr-log", daemon=True)
        if opens:
            self._thread.start()

    def put(self, record: Mapping[str, Any]) -> None:
        """Queue a record. Never waits, never raises."""
        if self._opens is None:
            return
        with self._changed:
            if len(self._records) >= self._capacity or self._is_closed:
                self.dropped += 1
                return
            self._records.append(record)
            self._changed.notify()

    def close(self) -> None:
        """Write what is queued, for CLOSING_S at most."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._opens:
            self._thread.join(CLOSING_S)

    def _run(self) -> None:
        sink: TextIO | None = None
        while (batch := self._take()) or not self._is_closed:
            try:
                if sink is None and batch and self._opens:
                    sink = self._opens()
                if sink:
                    sink.write(
                        "".join(json.dumps(self._shapes(record), ensure_ascii=False, default=str) + "\n" for record in batch)
                    )
                    sink.flush()
                    self.written += len(batch)
            except (OSError, ValueError):
                self.dropped += len(batch)
                _close(sink)
                sink = None
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed, RETRY_S)
        _close(sink)

    def _take(self) -> list[Mapping[str, Any]]:
        with self._changed:
            self._changed.wait_for(lambda: self._records or self._is_closed)
            batch = list(self._records)
            self._records.clear()
            return batch


def _close(sink: TextIO | None) -> None:
    try:
        if sink:
            sink.close()
    except OSError:
        pass  # what it still held was counted as dropped
