"""How often somebody may be wrong: failed attempts per key, each of which makes the next wait longer.

    free attempts ── one failure more ──> wait 2, 4, 8 … s, at most LONGEST_MS
    FORGET_MS without a failure, or a success ──> as if nothing had been

A key is whatever is guessed at or from: a user's name, an address. Who waits is told for how long, and is not even tried.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

#: A wait an honest person notices and a guesser cannot live with: 4 guesses an hour.
LONGEST_MS: Final = 15 * 60_000
FORGET_MS: Final = 60 * 60_000
#: The wait after the first failure that is not free; every further one doubles it.
FIRST_MS: Final = 2_000
#: Keys that are remembered; beyond it the one that failed longest ago is forgotten. A key is a few hundred bytes.
MAX_KEYS: Final = 50_000


@dataclass(slots=True)
class _Record:
    failures: int = 0
    failed_ms: int = 0
    until_ms: int = 0


class Attempts:
    """Failed attempts by key. `free` of them cost nothing. Times are of a clock that only goes on."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Attempts, {len(self._records)} keys, {self._free} free>"

    def wait_ms(self, key: str, now_ms: int) -> int:
        """Return how long the next attempt has to wait, 0 where it may be made."""
        record = self._records.get(key)
        return max(0, record.until_ms - now_ms) if record else 0

    def failed(self, key: str, now_ms: int) -> None:
        """Note a failure."""
        record = self._records.pop(key, None)
        if record is None or now_ms - record.failed_ms >= FORGET_MS:
            record = _Record()
        record.failures += 1
        record.failed_ms = now_ms
        over = record.failures - self._free
        if over > 0:
            # Doubling so often passes any limit: a larger shift would only cost memory.
            record.until_ms = now_ms + min(LONGEST_MS, FIRST_MS << min(over - 1, 20))
        self._records[key] = record
        if len(self._records) > MAX_KEYS:
            self._records.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures of a key."""
        self._records.pop(key, None)
