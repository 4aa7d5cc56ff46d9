"""The policies of a pool: what makes one place better than another, as a table.

A score is an integer, less is better; ties go to the fuller device (less compute free, then less memory), then to the first by
name. Random ties cost FGD five points of allocation on the public trace, so there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpupool_broker.core.placement.asks import WHOLE_PCT
from gpupool_broker.core.placement.workload import Workload

#: (workload, compute free, memory free, compute left, memory left) → score. Memory is what a further slice could be given.
Scorer = Callable[[Workload, int, int, int, int], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How a policy chooses. Of the devices with equal compute free it looks at one: that with the least or the most memory."""

    score: Scorer
    takes_roomiest: bool = False
    is_random: bool = False


def _fuller(_: Workload, compute: int, __: int, ___: int, ____: int) -> int:
    return compute


def _emptier(_: Workload, compute: int, __: int, ___: int, ____: int) -> int:
    return -compute


def _in_use(_: Workload, compute: int, __: int, ___: int, left: int) -> int:
    # A device in use before an idle one, then the one that is left with the least memory.
    return left + (1 << 40) * (compute == WHOLE_PCT)


def _fragments(workload: Workload, compute: int, memory: int, compute_left: int, memory_left: int) -> int:
    return workload.fragment(compute_left, memory_left) - workload.fragment(compute, memory)


def _fragments_to_come(workload: Workload, compute: int, memory: int, compute_left: int, memory_left: int) -> int:
    # F+ = F + μ·shortage with μ = 1, all of it times `memory_sum` (see `Workload.shortage`).
    grown = workload.shortage(compute_left, memory_left) - workload.shortage(compute, memory)
    return workload.memory_sum * _fragments(workload, compute, memory, compute_left, memory_left) + workload.size * grown


POLICIES: dict[str, Policy] = {
    "random": Policy(score=_fuller, is_random=True),
    "best-fit": Policy(score=_fuller),
    "spread": Policy(score=_emptier, takes_roomiest=True),
    "pack": Policy(score=_in_use),
    "fgd": Policy(score=_fragments),
    "fgd+": Policy(score=_fragments_to_come),
}
DEFAULT_POLICY = "fgd+"
