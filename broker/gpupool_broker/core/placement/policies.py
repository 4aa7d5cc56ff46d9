"""The policies of a pool: what makes one place better than another, as a table.

A score is an integer, less is better; ties go to the fuller device (less compute free, then less memory), then to the first by
name. Random ties between hosts cost FGD four points of allocation on the public trace (bench/results/placement.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gpupool_broker.core.placement.asks import WHOLE_PCT
from gpupool_broker.core.placement.workload import Workload

#: (workload, compute free, memory free, compute left, memory left) → score. Memory is what a further slice could be given.
Scorer = Callable[[Workload, int, int, int, int], int]
#: More MiB than any device has, to put compute before memory in one integer.
BEYOND_MEMORY = 1 << 40


class Order(StrEnum):
    """Which devices a policy has to look at."""

    #: Its score rises with the compute free: the fullest level with room has the answer.
    FULLEST_FIRST = "fullest first"
    #: Its score falls with the compute free: the emptiest level has.
    EMPTIEST_FIRST = "emptiest first"
    ALL = "all"
    #: It draws.
    RANDOM = "random"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How a policy chooses. Of the devices with equal compute free it looks at three: see `picks`."""

    score: Scorer
    order: Order = Order.ALL
    #: The lesson whose growth is the score: F (False), F+ (True), or no lesson (None).
    to_come: bool | None = None


def picks(first: int, end: int) -> tuple[int, ...]:
    """Return which of the devices first..end-1, equal in compute free and in rising order of memory, are looked at.

    That with the least memory that fits, the middle one, and that with the most. One alone costs `fgd+` two points of allocated
    compute on `bench.placement --memory`; looking at all gains nothing more and makes a decision depend on how many there are.
    """
    return (first, (first + end) // 2, end - 1) if end - first > 1 else (first,)


def _fuller(_: Workload, compute: int, __: int, ___: int, ____: int) -> int:
    return compute


def _emptier(_: Workload, compute: int, memory: int, __: int, ___: int) -> int:
    return -(compute * BEYOND_MEMORY + memory)


def _in_use(_: Workload, compute: int, __: int, ___: int, left: int) -> int:
    # A device in use before an idle one, then the one that is left with the least memory.
    return left + BEYOND_MEMORY * (compute == WHOLE_PCT)


def _fragments(workload: Workload, compute: int, memory: int, compute_left: int, memory_left: int) -> int:
    lesson = workload.lesson(to_come=False)
    return lesson.potential(compute_left, memory_left) - lesson.potential(compute, memory)


def _fragments_to_come(workload: Workload, compute: int, memory: int, compute_left: int, memory_left: int) -> int:
    lesson = workload.lesson(to_come=True)
    return lesson.potential(compute_left, memory_left) - lesson.potential(compute, memory)


POLICIES: dict[str, Policy] = {
    "random": Policy(score=_fuller, order=Order.RANDOM),
    "best-fit": Policy(score=_fuller, order=Order.FULLEST_FIRST),
    "spread": Policy(score=_emptier, order=Order.EMPTIEST_FIRST),
    "pack": Policy(score=_in_use),
    "fgd": Policy(score=_fragments, to_come=False),
    "fgd+": Policy(score=_fragments_to_come, to_come=True),
}
DEFAULT_POLICY = "fgd+"
