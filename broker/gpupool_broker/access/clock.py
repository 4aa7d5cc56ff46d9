"""The wall clock as far as credentials are concerned: it never goes back, so that what has expired stays so.

wall clock ── goes back ──> the monotonic clock carries on from the latest moment seen
           ── goes on ────> followed
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class SteadyClock:
    """Milliseconds since 1970, never fewer than before. Thread-safe."""

    def __init__(
        self, wall_ms: Callable[[], int], monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000
    ) -> None:
        self._wall_ms = wall_ms
        self._monotonic_ms = monotonic_ms
        self._lock = threading.Lock()
        self._latest = wall_ms()
        self._seen_at = self._monotonic_ms()

    def __call__(self) -> int:
        """Return the moment."""
        with self._lock:
            now = self._monotonic_ms()
            self._latest = max(self._latest + now - self._seen_at, self._wall_ms())
            self._seen_at = now
            return self._latest
