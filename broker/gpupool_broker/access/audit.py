"""The audit log while the broker runs: entries on their way into the store, several in one commit.

record ──> waiting ──(whoever comes first writes all)──> store        durable when `record` returns
note ────> waiting ──(at the next record or tending)───> store        for threads that must not wait
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Final

from gpupool_broker.store.audit import AuditEntry, AuditStore
from gpupool_broker.store.errors import StoreFailed

log = logging.getLogger(__name__)
#: Entries kept in memory while the store refuses them (some 10 MB); beyond it the oldest is in the log file alone.
MAX_WAITING: Final = 10_000
DAY_MS: Final = 86_400_000


class AuditDesk:
    """Takes entries. Thread-safe. What was done is done: a store that refuses its entry does not undo it."""

    def __init__(self, store: AuditStore) -> None:
        self.store = store
        self._waiting: deque[AuditEntry] = deque(maxlen=MAX_WAITING)
        self._turn = threading.Lock()

    def record(self, entry: AuditEntry) -> None:
        """Have an entry stored; where the store refuses, it is logged, kept, and tried again with the next one."""
        self.note(entry)
        self.flush()

    def note(self, entry: AuditEntry) -> None:
        """Take an entry without waiting for the store."""
        self._waiting.append(entry)

    def flush(self) -> None:
        """Store what waits."""
        with self._turn:
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not batch:
                return
            try:
                self.store.add(batch)
            except StoreFailed as error:
                self._waiting.extendleft(reversed(batch))
                log.error(  # noqa: TRY400 - told, not a bug
                    "%d entries of the audit log are not stored yet: %s",
                    len(batch),
                    error,
                    extra={"action": "audit_failed", "newest": f"{batch[-1].who} {batch[-1].action} {batch[-1].target}"},
                )

    def drop_old(self, now_ms: int, days: int | None) -> int:
        """Drop entries older than so many days, none where they are kept for good; return how many."""
        return 0 if days is None else self.store.drop_before(now_ms - days * DAY_MS)
