"""Placement on hosts with CPU and memory of their own: an index by state.

Hosts in equal states are interchangeable. For every request asked for lately there is a ranking, a heap of the states that can
host it; a placement changes one host, so a ranking has to score only the states that appeared since it was last used.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from random import Random

from gpupool_broker.core.placement.host_policies import HOST_POLICIES, HostPolicy, Scale
from gpupool_broker.core.placement.host_workload import HostWorkload
from gpupool_broker.core.placement.hosts import Host, HostAsk, HostPlan, State
from gpupool_broker.core.placement.policies import DEFAULT_POLICY

#: States that appear before the rankings are made anew: bounds their heaps where no lesson does.
MAX_LOG = 100_000
#: Rankings kept: more different requests than that and they are all made anew.
MAX_RANKINGS = 1_000

#: (score, GPU units free, CPU free, state, free units of the GPU it starts on): less is better.
Entry = tuple[int, int, int, State, int]


class HostPlacer:
    """What is free on every host, and where the next request goes."""

    def __init__(
        self,
        hosts: Iterable[Host],
        *,
        whole: int = 100,
        policy: str = DEFAULT_POLICY,
        workload: HostWorkload | None = None,
        rng: Random | None = None,
    ) -> None:
        """Start with these hosts, whose GPUs are `whole` units each. Raises KeyError where there is no such policy."""
        self.hosts = {host.name: host for host in hosts}
        self.policy = HOST_POLICIES[policy]
        self.workload = workload or HostWorkload()
        self.scale = scale_of(self.hosts.values(), whole)
        self._rng = rng or Random(0)  # noqa: S311 (chooses among equals; nothing secret)
        self._held: dict[str, State] = {}
        self._in_state: dict[State, list[str]] = {}
        #: States in the order they appeared; a ranking remembers how far it has read.
        self._log: list[State] = []
        self._rankings: dict[HostAsk, tuple[list[Entry], int]] = {}
        self._epoch = 0
        for host in self.hosts.values():
            self._settle(host)

    def __repr__(self) -> str:
        return f"<HostPlacer, {len(self.hosts)} hosts in {len(self._in_state)} states>"

    def changed(self, host: Host) -> None:
        """Say that what is free on a host is different now."""
        old = self._held[host.name]
        names = self._in_state[old]
        del names[bisect_left(names, host.name)]
        if not names:
            del self._in_state[old]
        self._settle(host)

    def seen(self, ask: HostAsk) -> None:
        """Learn from a request that came in: once each, however often it is tried."""
        self.workload.saw(ask)

    def place(self, ask: HostAsk) -> HostPlan | None:
        """Return where `ask` goes; None where no host has room."""
        if self.policy.is_random:
            fitting = [state for state in self._in_state if ask.fits(state)]
            return drawn(ask, [self.hosts[name] for state in fitting for name in self._in_state[state]], self._rng)
        ranking = self._ranking(ask)
        while ranking and ranking[0][3] not in self._in_state:
            heappop(ranking)
        if not ranking:
            return None
        *_, state, level = ranking[0]
        host = self.hosts[self._in_state[state][0]]
        return HostPlan(host=host.name, gpus=host.chosen(ask, level))

    def _settle(self, host: Host) -> None:
        self._held[host.name] = state = host.state
        if state not in self._in_state:
            self._in_state[state] = []
            self._log.append(state)
        insort(self._in_state[state], host.name)

    def _ranking(self, ask: HostAsk) -> list[Entry]:
        """Return the heap of the states that can host `ask`, up to date except for states no host is in any more."""
        is_stale = self.policy.learns and self._epoch != self.workload.epoch
        if is_stale or len(self._log) > MAX_LOG or len(self._rankings) > MAX_RANKINGS:
            self._epoch = self.workload.epoch
            self._rankings.clear()
            self._log = list(self._in_state)
        heap, read = self._rankings.get(ask, ([], 0))
        entries = [self._entry(ask, state) for state in self._log[read:] if state in self._in_state and ask.fits(state)]
        if read:
            for entry in entries:
                heappush(heap, entry)
        else:
            heap = entries
            heapify(heap)
        self._rankings[ask] = heap, len(self._log)
        return heap

    def _entry(self, ask: HostAsk, state: State) -> Entry:
        return entry_of(self.policy, self.workload, self.scale, ask, state)


def scale_of(hosts: Iterable[Host], whole: int) -> Scale:
    """Return the units of a GPU and the most any host has of GPUs and CPU when empty."""
    sizes = [(len(host.gpus) * whole, host.cpu_milli) for host in hosts]
    most_units, most_cpu = max((units for units, _ in sizes), default=1), max((cpu for _, cpu in sizes), default=1)
    return Scale(whole=whole, most_units=most_units or 1, most_cpu=most_cpu or 1)


def entry_of(policy: HostPolicy, workload: HostWorkload, scale: Scale, ask: HostAsk, state: State) -> Entry:
    """Return the best way to host `ask` in that state; of equal ones the fullest GPU."""
    score, level = min((policy.score(workload, scale, ask, state, level, after), level) for level, after in ask.options(state))
    return score, sum(state[0]), state[1], state, level


def drawn(ask: HostAsk, fitting: list[Host], rng: Random) -> HostPlan | None:
    """Return any of the hosts that fit, each as likely, and on it any GPU with room."""
    if not fitting:
        return None
    in_order = sorted(fitting, key=lambda host: host.name)
    host = in_order[rng.randrange(len(in_order))]
    roomy = [index for index, level in enumerate(host.gpus) if level >= ask.units]
    return HostPlan(host=host.name, gpus=tuple(sorted(rng.sample(roomy, ask.gpus))))
