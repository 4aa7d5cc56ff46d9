"""Whether to look again and again for what is about to arrive, instead of sleeping until it does.

A core that sleeps wakes up slowly and with cold caches: measured, what takes 7 us in a loop takes 28 us after a sleep of 300 us,
and the round trip of a small call consists of little else. Looking costs a core, though, so it is done briefly, only where it has
paid lately, and not where others want that core (whoever looks yields it each time, and notices when somebody takes it).

    budget_ns ──0──> sleep                              hit: the next wait may look, too
        └──> look, yield, look ... ──> hit, missed, or crowded: so many of the next waits sleep
"""

from __future__ import annotations

#: A yield that takes longer has given the core to somebody.
CROWDED_NS = 30_000
#: Waits that sleep after somebody else wanted the core, and at the most after misses in a row, where they double each time.
CROWDED_WAITS = 32
REST_WAITS = 256


class Spin:
    """The habit of one waiter."""

    __slots__ = ("_limit_ns", "_misses", "_resting")

    def __init__(self, limit_ns: int) -> None:
        self._limit_ns = limit_ns
        self._misses = 0
        self._resting = 0

    def budget_ns(self) -> int:
        """Return for how long to look in the wait that begins: 0 is not at all."""
        if self._resting:
            self._resting -= 1
            return 0
        return self._limit_ns

    def hit(self) -> None:
        """It came while we looked."""
        self._misses = 0

    def missed(self) -> None:
        """It did not come in time."""
        self._misses += 1
        self._resting = min(2**self._misses - 1, REST_WAITS)

    def crowded(self) -> None:
        """Somebody else wants the core."""
        self._resting = CROWDED_WAITS
