"""The devices that meet some needs, by what is free on them: an index whose answers do not depend on how many there are."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from gpupool_broker.core.placement.asks import WHOLE_PCT, Ask
from gpupool_broker.core.placement.policies import Policy
from gpupool_broker.core.placement.refusals import size_key
from gpupool_broker.core.placement.workload import Workload
from gpupool_broker.core.state import Device

#: (MiB a further slice could be given, node, device, MiB booked beside every slice).
Rest = tuple[int, str, str, int]
#: (score, compute free, MiB a slice could be given, node, device): less is better.
Choice = tuple[int, int, int, str, str]


def rest_of(device: Device) -> Rest:
    """Return a device's memory as placement sees it: the worker's own cost is taken off, so that a request compares directly."""
    overhead = device.info.worker_overhead_mib
    return device.memory_free_mib - overhead, device.node, device.info.device, overhead


class View:
    """Devices by compute free (0 to 100), and by memory within. One bisection a level, 101 levels at most."""

    def __init__(self) -> None:
        self.levels: list[list[Rest]] = [[] for _ in range(WHOLE_PCT + 1)]
        #: What each device offers when empty, for refusals.
        self._sizes: list[tuple[int, str, str]] = []

    def __repr__(self) -> str:
        return f"<View, {len(self._sizes)} devices on {sum(map(bool, self.levels))} levels>"

    def join(self, device: Device, compute: int, rest: Rest) -> None:
        """Take in a device with that much free."""
        insort(self._sizes, size_key(device))
        insort(self.levels[compute], rest)

    def leave(self, device: Device, compute: int, rest: Rest) -> None:
        """Let go of a device that had that much free."""
        del self._sizes[bisect_left(self._sizes, size_key(device))]
        self._take_out(compute, rest)

    def move(self, old: tuple[int, Rest], new: tuple[int, Rest]) -> None:
        """Note that a device has other resources free than it had."""
        self._take_out(*old)
        insort(self.levels[new[0]], new[1])

    def _take_out(self, compute: int, rest: Rest) -> None:
        level = self.levels[compute]
        index = bisect_left(level, rest)
        if index == len(level) or level[index] != rest:
            raise AssertionError(f"{rest[2]} on {rest[1]} is not where the index has it")
        del level[index]

    def best(self, policy: Policy, workload: Workload, ask: Ask, compute_pct: int) -> Choice | None:
        """Return the best place by policy, or None where it fits nowhere."""
        memory, score, is_free = ask.memory_mib, policy.score, not (ask.avoid_nodes or ask.avoid_devices or ask.node)
        best: Choice | None = None
        for compute in range(compute_pct, WHOLE_PCT + 1):
            level = self.levels[compute]
            if not level or level[-1][0] < memory:
                continue
            if is_free:
                rest: Rest | None = level[-1] if policy.takes_roomiest else level[bisect_left(level, (memory,))]
            else:
                rest = _allowed(level, ask, memory, policy.takes_roomiest)
            if rest is None:
                continue
            free, node, device, overhead = rest
            points = score(workload, compute, free, compute - compute_pct, free - memory - overhead)
            # Levels come in rising order: an equal score later is a less full device.
            if best is None or points < best[0]:
                best = points, compute, free, node, device
        return best

    def fitting(self, ask: Ask, compute_pct: int) -> Iterator[tuple[int, Rest]]:
        """Yield every place it fits, the fullest first."""
        for compute in range(compute_pct, WHOLE_PCT + 1):
            level = self.levels[compute]
            for rest in level[bisect_left(level, (ask.memory_mib,)) :]:
                if not ask.avoids(rest[1], rest[2]):
                    yield compute, rest

    def largest(self) -> tuple[str, str]:
        """Return node and device of the one that offers the most memory when empty."""
        return self._sizes[-1][1:]

    def roomiest(self, compute_pct: int) -> tuple[str, str] | None:
        """Return what comes nearest to having room: compute up to what is asked, then memory; None where there is no device."""
        enough = [(level[-1][0], compute, *level[-1][1:3]) for compute, level in enumerate(self.levels) if level]
        if not enough:
            return None
        *_, node, device = max(enough, key=lambda last: (min(last[1], compute_pct), *last))
        return node, device


def _allowed(level: list[Rest], ask: Ask, memory: int, takes_roomiest: bool) -> Rest | None:
    start = bisect_left(level, (memory,))
    order = range(len(level) - 1, start - 1, -1) if takes_roomiest else range(start, len(level))
    return next((level[index] for index in order if not ask.avoids(level[index][1], level[index][2])), None)
