"""The devices that meet some needs, by what is free on them: a decision takes no longer where there are more of them.

A decision of FGD on a busy pool weighs some hundred places, so its loop (`steepest`) has no calls of ours in it, and ends where
no further place can be better: W, the requests that cannot use a device, falls with what is free there, so a share a grows F by

    (c - a)·W(left) - c·W(free)  >=  -a·W(free)  >=  -a·W(c, the memory asked for)

which rises with c; and the line of F+ grows by `least` or more.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from gpupool_broker.core.placement.asks import WHOLE_PCT
from gpupool_broker.core.placement.policies import Order, Policy, picks
from gpupool_broker.core.placement.refusals import size_key
from gpupool_broker.core.placement.workload import Lesson, Workload
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
        self.take_out(compute, rest)

    def move(self, old: tuple[int, Rest], new: tuple[int, Rest]) -> None:
        """Note that a device has other resources free than it had."""
        self.take_out(*old)
        insort(self.levels[new[0]], new[1])

    def take_out(self, compute: int, rest: Rest) -> None:
        """Let go of a device for a while; `put_back` undoes it."""
        level = self.levels[compute]
        index = bisect_left(level, rest)
        if index == len(level) or level[index] != rest:
            raise AssertionError(f"{rest[2]} on {rest[1]} is not where the index has it")
        del level[index]

    def put_back(self, compute: int, rest: Rest) -> None:
        """Undo `take_out`."""
        insort(self.levels[compute], rest)

    def best(self, policy: Policy, workload: Workload, compute_pct: int, memory_mib: int) -> Choice | None:
        """Return the best place by policy, or None where it fits nowhere."""
        if policy.to_come is not None:
            return steepest(self.levels, workload.lesson(to_come=policy.to_come), compute_pct, memory_mib)
        best: Choice | None = None
        rising = range(compute_pct, WHOLE_PCT + 1)
        for compute in reversed(rising) if policy.order is Order.EMPTIEST_FIRST else rising:
            level = self.levels[compute]
            if not level or level[-1][0] < memory_mib:
                continue
            for index in picks(bisect_left(level, (memory_mib,)), len(level)):
                free, node, device, overhead = level[index]
                left = free - memory_mib - overhead
                choice = policy.score(workload, compute, free, compute - compute_pct, left), compute, free, node, device
                if best is None or choice < best:
                    best = choice
            if policy.order is not Order.ALL:
                break
        return best

    def fitting(self, compute_pct: int, memory_mib: int) -> list[tuple[int, list[Rest]]]:
        """Return the levels with devices it fits on, the fullest first, each with the index of the first such device."""
        levels = self.levels[compute_pct:]
        return [(bisect_left(level, (memory_mib,)), level) for level in levels if level and level[-1][0] >= memory_mib]

    def largest(self) -> tuple[str, str]:
        """Return node and device of the one that offers the most memory when empty."""
        return self._sizes[-1][1:]

    def roomiest(self, compute_pct: int) -> tuple[str, str] | None:
        """Return what comes nearest to having room: compute up to what is asked, then memory; None where there is no device."""
        best: tuple[int, int, str, str] | None = None
        for compute in range(WHOLE_PCT, -1, -1):
            # Below what is asked, the level with the most compute is nearest, whatever its memory.
            if best and compute < compute_pct:
                break
            if (level := self.levels[compute]) and (best is None or level[-1][0] >= best[0]):
                free, node, device, _ = level[-1]
                last = free, compute, node, device
                best = max(best, last) if best else last
        return best[2:] if best else None


def steepest(levels: list[list[Rest]], lesson: Lesson, compute_pct: int, memory_mib: int) -> Choice | None:
    """Return the place where the lesson's measure grows least: what `best` finds by its score, with the score written out."""
    steps, rows, per_compute, per_mib = lesson.steps, lesson.rows, lesson.per_compute, lesson.per_mib
    wanted, best, best_score = (memory_mib,), None, 0
    tightest, least = bisect_right(steps, memory_mib), min(0, memory_mib * per_mib - compute_pct * per_compute)
    for compute in range(compute_pct, WHOLE_PCT + 1):
        level = levels[compute]
        if not level or level[-1][0] < memory_mib:
            continue
        before, after = rows[compute], rows[compute - compute_pct]
        if best and best_score <= least - compute_pct * before[tightest]:
            break
        first, end = bisect_left(level, wanted), len(level)
        line, line_left = compute * per_compute, (compute - compute_pct) * per_compute
        for index in (first, (first + end) // 2, end - 1) if end - first > 1 else (first,):
            rest = level[index]
            free = rest[0]
            now = before[bisect_right(steps, free)]
            if best and best_score <= least - compute_pct * now:
                break  # nor on this level, where memory rises and W falls
            left = free - memory_mib - rest[3]
            score = (compute - compute_pct) * after[bisect_right(steps, left)] - compute * now
            if (shortage := line - free * per_mib) > 0:
                score -= shortage
            if (shortage := line_left - left * per_mib) > 0:
                score += shortage
            # Levels and memory rise: what comes later with an equal score is a less full device.
            if best is None or score < best_score:
                best_score, best = score, (compute, rest)
    return (best_score, best[0], *best[1][:3]) if best else None
