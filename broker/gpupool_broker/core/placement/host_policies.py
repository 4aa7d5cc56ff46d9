"""The policies for hosts with CPU and memory of their own, as a table.

A score is an integer, less is better; ties go to the fuller host (less GPU free, then less CPU), then to the first by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpupool_broker.core.placement.host_workload import HostWorkload
from gpupool_broker.core.placement.hosts import HostAsk, State


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """What a score needs to know beside the host: units of a whole GPU, and the largest host there is."""

    whole: int
    most_units: int
    most_cpu: int


#: (workload, scale, request, state before, free units of the GPU it starts on, state after) → score.
Scorer = Callable[[HostWorkload, Scale, HostAsk, State, int, State], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class HostPolicy:
    """How a policy chooses."""

    score: Scorer
    #: Whether scores change with what the workload has learned.
    learns: bool = False
    is_random: bool = False


def _left(_: HostWorkload, scale: Scale, __: HostAsk, ___: State, ____: int, after: State) -> int:
    # What is left of each resource over the most any host has of it, summed; brought to one denominator.
    return sum(after[0]) * scale.most_cpu + after[1] * scale.most_units


def _taken(workload: HostWorkload, scale: Scale, ask: HostAsk, before: State, level: int, after: State) -> int:
    # The emptiest host, and on it the emptiest GPU.
    return -_left(workload, scale, ask, before, level, after) * (scale.whole + 1) - level


def _disturbed(_: HostWorkload, scale: Scale, ask: HostAsk, before: State, level: int, __: State) -> int:
    # A GPU in use before an idle one, an idle one of a host in use before an idle host.
    is_idle = before[0] == (scale.whole,) * len(before[0])
    return 2 * is_idle + (level == scale.whole and not is_idle and bool(ask.gpus))


def _grown(workload: HostWorkload, _: Scale, __: HostAsk, before: State, ___: int, after: State) -> int:
    return workload.fragment(after) - workload.fragment(before)


def _grown_to_come(workload: HostWorkload, _: Scale, __: HostAsk, before: State, ___: int, after: State) -> int:
    return workload.fragment_to_come(after) - workload.fragment_to_come(before)


HOST_POLICIES: dict[str, HostPolicy] = {
    "random": HostPolicy(score=_left, is_random=True),
    "best-fit": HostPolicy(score=_left),
    "spread": HostPolicy(score=_taken),
    "pack": HostPolicy(score=_disturbed),
    "fgd": HostPolicy(score=_grown, learns=True),
    "fgd+": HostPolicy(score=_grown_to_come, learns=True),
}
