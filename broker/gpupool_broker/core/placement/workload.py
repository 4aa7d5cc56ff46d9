"""What is being asked for lately, and how much of a device's rest that workload cannot use.

The measure is the expected fragmentation F_n(M) of Weng et al., "Beware of Fragmentation" (USENIX ATC'23): draw a request from
the workload M; what is free on n and of no use to it is its fragment. For a device with c compute and m memory free, a request
(c', m') can use all of c where c >= c' and m >= m', and none of it otherwise, so F depends on (c, m) alone and is a table over
the thresholds that occur in M.

Weights are counts and units are integers: scores are exact, so that a tie is a tie on every machine.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from dataclasses import dataclass
from itertools import accumulate

from gpupool_broker.core.placement.asks import WHOLE_PCT

#: Requests remembered. Fifty give the figures that the whole trace gives, and follow a change of workload soonest.
WINDOW = 50
#: Requests between two lessons. A new table costs some 100 µs: one request in 200 pays it, so the 99th percentile does not.
REFRESH = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """F or F+ of every device there can be, as a table and a line.

    F+ = F + μ·max(0, c - m/ρ): what will be stranded because, at the workload's mean memory per compute ρ, the memory left serves
    less than the compute left. μ = 1, and all of it times the window's memory to stay an integer.
    """

    #: Memory that is asked for, rising (MiB); a device's column is the number of steps it reaches.
    steps: list[int]
    #: For each per cent of compute free, by column: the requests that cannot use the device. F is that times the compute free.
    rows: list[list[int]]
    #: The line of F+: what a per cent of compute adds and what a MiB takes off; both 0 for F.
    per_compute: int
    per_mib: int

    def potential(self, compute: int, memory: int) -> int:
        """Return F or F+ of a device with that much free."""
        shortage = max(0, compute * self.per_compute - memory * self.per_mib)
        return compute * self.rows[compute][bisect_right(self.steps, memory)] + shortage


class Workload:
    """The last requests, and what was learned from them."""

    def __init__(self, window: int = WINDOW, refresh: int = REFRESH) -> None:
        self._last: deque[tuple[int, int]] = deque(maxlen=window)
        self._refresh = refresh
        self._seen = self._due = 0
        self._counts: Counter[tuple[int, int]] = Counter()
        self._lessons: dict[bool, Lesson] = {}

    def __repr__(self) -> str:
        return f"<Workload, {len(self._last)} requests of {self._seen}>"

    @property
    def size(self) -> int:
        """How many requests the present lessons were learned from."""
        return sum(self._counts.values())

    def saw(self, compute_pct: int, memory_mib: int) -> None:
        """Remember a request that came in; learn where it is time."""
        self._last.append((compute_pct, memory_mib))
        self._seen += 1
        if self._seen >= self._due:
            # The first lessons come sooner: after 1, 2, 4, ... requests, or an empty table would place the first ones.
            self._due = self._seen + min(self._refresh, self._seen)
            self._counts = Counter(self._last)
            self._lessons.clear()

    def lesson(self, *, to_come: bool) -> Lesson:
        """Return F, or F+ where what is `to_come` counts too."""
        if to_come not in self._lessons:
            self._lessons[to_come] = _learn(self._counts, to_come=to_come)
        return self._lessons[to_come]


def _learn(counts: Counter[tuple[int, int]], *, to_come: bool) -> Lesson:
    size = sum(counts.values())
    compute_sum = sum(compute * count for (compute, _), count in counts.items())
    memory_sum = sum(memory * count for (_, memory), count in counts.items())
    scale = memory_sum if to_come else 1
    per_compute, per_mib = (size * memory_sum, size * compute_sum) if to_come else (0, 0)
    return Lesson(
        steps=sorted({memory for _, memory in counts}), rows=_unusable(counts, scale), per_compute=per_compute, per_mib=per_mib
    )


def _unusable(counts: Counter[tuple[int, int]], scale: int) -> list[list[int]]:
    """Return, for each per cent of compute, how many requests (times `scale`) cannot use that, by memory steps reached."""
    column = {memory: index + 1 for index, memory in enumerate(sorted({memory for _, memory in counts}))}
    starting: dict[int, list[tuple[int, int]]] = {}
    for (compute, memory), count in counts.items():
        starting.setdefault(compute, []).append((column[memory], count))
    total, usable = sum(counts.values()), [0] * (len(column) + 1)
    row, rows = [scale * total] * (len(column) + 1), []
    for compute in range(WHOLE_PCT + 1):
        if compute in starting:
            for index, count in starting[compute]:
                usable[index] += count
            row = [scale * (total - done) for done in accumulate(usable)]
        rows.append(row)  # neighbours share a list: rows differ only where a compute is asked for
    return rows
