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
from itertools import accumulate

from gpupool_broker.core.placement.asks import WHOLE_PCT

#: Requests remembered. Fifty give the figures that the whole trace gives, and follow a change of workload soonest.
WINDOW = 50
#: Requests between two lessons. A new table costs some 100 µs: one request in 200 pays it, so the 99th percentile does not.
REFRESH = 200


class Workload:
    """The last requests, and the fragmentation table learned from them."""

    def __init__(self, window: int = WINDOW, refresh: int = REFRESH) -> None:
        self._last: deque[tuple[int, int]] = deque(maxlen=window)
        self._refresh = refresh
        self._seen = self._due = 0
        #: Sum over M of compute and of memory: their ratio is what a per cent of compute wants of memory.
        self.compute_sum, self.memory_sum = 0, 0
        #: How many requests the table was learned from.
        self.size = 0
        self._memory_steps: list[int] = []
        self._row_of: list[list[int]] = [[0]] * (WHOLE_PCT + 1)

    def __repr__(self) -> str:
        return f"<Workload, {len(self._last)} requests, {self.compute_sum} % and {self.memory_sum} MiB in all>"

    def saw(self, compute_pct: int, memory_mib: int) -> None:
        """Remember a request that came in; learn where it is time."""
        self._last.append((compute_pct, memory_mib))
        self._seen += 1
        if self._seen >= self._due:
            # The first lessons come sooner: after 1, 2, 4, ... requests, or an empty table would place the first ones.
            self._due = self._seen + min(self._refresh, self._seen)
            self._learn()

    def fragment(self, compute: int, memory: int) -> int:
        """Return F of a device with that much free (per cent times requests of the window that cannot use it)."""
        return compute * self._row_of[compute][bisect_right(self._memory_steps, memory)]

    def shortage(self, compute: int, memory: int) -> int:
        """Return the stranding still to come: free compute for which, at the workload's mean, there is no memory.

        max(0, c - m/ρ), ρ the workload's own memory per compute, times `memory_sum` to stay an integer.
        """
        return max(0, compute * self.memory_sum - memory * self.compute_sum)

    def _learn(self) -> None:
        counts = Counter(self._last)
        self.size = len(self._last)
        self.compute_sum = sum(compute * count for (compute, _), count in counts.items())
        self.memory_sum = sum(memory * count for (_, memory), count in counts.items())
        self._memory_steps = steps = sorted({memory for _, memory in counts})
        column = {memory: index + 1 for index, memory in enumerate(steps)}
        # usable[j]: requests whose compute fits and whose memory threshold is at or below step j. Rows change only at a
        # compute that is asked for, so neighbours share one list.
        usable = [0] * (len(steps) + 1)
        starting: dict[int, list[tuple[int, int]]] = {}
        for (compute, memory), count in counts.items():
            starting.setdefault(compute, []).append((column[memory], count))
        rows, total = [], self.size
        row = [total] * (len(steps) + 1)
        for compute in range(WHOLE_PCT + 1):
            if compute in starting:
                for index, count in starting[compute]:
                    usable[index] += count
                row = [total - done for done in accumulate(usable)]
            rows.append(row)
        self._row_of = rows
