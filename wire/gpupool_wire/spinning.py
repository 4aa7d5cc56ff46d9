"""Whether to look again and again for what is about to arrive, instead of sleeping until it does.

A core that sleeps wakes up slowly and with cold caches: measured, what takes 7 us in a loop takes 28 us after a sleep of 300 us,
and the round trip of a small call consists of little else. Looking costs a core, though, so it is done briefly, only where it has
paid lately, and not where others want that core (whoever looks yields it each time, and notices when somebody takes it).

    budget_ns ──0──> sleep                                      hit: the next wait may look, too
        └──> nap_ns ──> look, yield, look ... ──> hit, missed, or crowded: so many of the next waits sleep

What takes longer than it is worth looking for, but about as long each time, is slept through at first: `took` learns how long.
"""

from __future__ import annotations

#: A yield that takes longer has given the core to somebody.
CROWDED_NS = 30_000
#: Waits that sleep after somebody else wanted the core, and at the most after misses in a row, where they double each time.
CROWDED_WAITS = 32
REST_WAITS = 256
#: Waits that are usually longer are not looked for: they vary by more than a look is long, and waking up is little beside them.
LONG_NS = 5_000_000
#: A nap shorter than this ends late: it is looked through instead.
SHORTEST_NAP_NS = 50_000


class Spin:
    """The habit of one waiter."""

    __slots__ = ("_limit_ns", "_misses", "_resting", "_usual_ns")

    def __init__(self, limit_ns: int) -> None:
        self._limit_ns = limit_ns
        self._misses = 0
        self._resting = 0
        #: How long waits take that are about as short as they come.
        self._usual_ns = 0

    def budget_ns(self) -> int:
        """Return for how long to look in the wait that begins: 0 is not at all."""
        if self._resting:
            self._resting -= 1
            return 0
        return self._limit_ns if self._usual_ns <= LONG_NS else 0

    def nap_ns(self) -> int:
        """Return for how long to sleep before looking, so that what comes as usual comes in the middle of the look."""
        nap_ns = self._usual_ns - self._limit_ns // 2
        return nap_ns if nap_ns >= SHORTEST_NAP_NS else 0

    def took(self, ns: int) -> None:
        """A wait took so long, slept or not."""
        difference_ns = ns - self._usual_ns
        self._usual_ns += difference_ns // (2 if difference_ns < 0 else 8) if self._usual_ns else difference_ns

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
