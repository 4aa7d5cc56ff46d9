"""What is being asked of hosts lately, and how much of a host's free GPUs that workload cannot use.

F_n(M) as in Weng et al., "Beware of Fragmentation" (USENIX ATC'23): for a request that a host cannot take (CPU, memory, model, or
too few GPUs with room), all its free GPU units are fragments; for one it can, those on GPUs without room for it. Requests without
a GPU are left out: they fragment nothing.

F+ adds the stranding still to come, ours: with ρ the workload's own CPU per GPU unit, CPU left on a host serves cpu/ρ units; what
is free beyond that will be stranded however well the rest is packed. Weights are counts and all is an integer: scores are exact.
"""

from __future__ import annotations

from collections import Counter, deque

from gpupool_broker.core.placement.hosts import HostAsk, State

#: Requests remembered: fifty give the figures that the whole trace gives.
WINDOW = 50
#: Requests between two lessons.
REFRESH = 50

#: CPU, memory, GPUs, units, count.
Demand = tuple[int, int, int, int, int]


class HostWorkload:
    """The last requests, and F learned from them; `epoch` changes whenever F does."""

    def __init__(self, window: int = WINDOW, refresh: int = REFRESH) -> None:
        self._last: deque[HostAsk] = deque(maxlen=window)
        self._refresh, self._seen, self._due = refresh, 0, 1
        self.epoch = 0
        self._asks: Counter[HostAsk] = Counter()
        self._of_model: dict[str, tuple[list[Demand], int]] = {}
        self._known: dict[State, int] = {}
        self._cpu_sum = self._units_sum = self._size = 0

    def __repr__(self) -> str:
        return f"<HostWorkload, {len(self._last)} requests, lesson {self.epoch}>"

    def saw(self, ask: HostAsk) -> None:
        """Remember a request that came in; learn where it is time."""
        self._last.append(ask)
        self._seen += 1
        if self._seen >= self._due:
            # The first lessons come sooner, or an empty window would place the first requests.
            self._due = self._seen + min(self._refresh, self._seen)
            self._learn()

    def fragment(self, state: State) -> int:
        """Return F of a host in that state (units times requests of the window that cannot use them)."""
        known = self._known.get(state)
        if known is None:
            known = self._known[state] = self._fragment(state)
        return known

    def fragment_to_come(self, state: State) -> int:
        """Return F+ = F + μ·max(0, idle - cpu/ρ) with μ = 1, all of it times the window's CPU to stay an integer."""
        idle = sum(state[0])
        shortage = max(0, idle * self._cpu_sum - state[1] * self._units_sum)
        return self.fragment(state) * (self._cpu_sum or 1) + self._size * shortage

    def _fragment(self, state: State) -> int:
        gpus, cpu, memory, model = state
        idle = sum(gpus)
        if not idle:
            return 0
        demands, excluded = self._demands(model)
        fragment, count_of = excluded * idle, len(gpus)
        small: dict[int, int] = {}
        for cpu_wanted, memory_wanted, wanted, units, count in demands:
            if cpu_wanted > cpu or memory_wanted > memory or wanted > count_of or gpus[-wanted] < units:
                fragment += count * idle
            else:
                if units not in small:
                    small[units] = sum([level for level in gpus if level < units])
                fragment += count * small[units]
        return fragment

    def _demands(self, model: str) -> tuple[list[Demand], int]:
        """Return the requests that take this model, and how many do not."""
        if model not in self._of_model:
            taking = [(ask, count) for ask, count in self._asks.items() if not ask.models or model in ask.models]
            demands = [(ask.cpu_milli, ask.memory_mib, ask.gpus, ask.units, count) for ask, count in taking]
            self._of_model[model] = demands, sum(self._asks.values()) - sum(count for _, count in taking)
        return self._of_model[model]

    def _learn(self) -> None:
        self.epoch += 1
        self._asks = Counter(ask for ask in self._last if ask.gpus)
        self._of_model, self._known = {}, {}
        self._size = sum(self._asks.values())
        self._cpu_sum = sum(ask.cpu_milli for ask in self._last)
        self._units_sum = sum(ask.gpus * ask.units for ask in self._last)
