"""How the pool was used over the last day: a sample every ten seconds, thinned out as it ages. Pure: time comes with the sample.

overview ──sample_of──> Sample ──note──> fine (10 s, the last half hour) ──mean of twelve──> coarse (2 min, a day)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from gpupool_broker.core.overview import Overview

SAMPLE_S: Final = 10
#: Fine samples are kept for half an hour; so many of them make a coarse one, which is kept for a day.
FINE_KEPT: Final = 180
FINE_IN_COARSE: Final = 12
COARSE_KEPT: Final = 720
#: Tenants beyond that many, by what they hold, are in the pool's sums alone: a sample stays small.
MAX_TENANTS: Final = 200


class Level(msgspec.Struct, frozen=True, array_like=True):
    """How much was held and how much was used, in per cent of a device."""

    allocated_pct: float
    busy_pct: float


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """The pool at a wall time."""

    at_ms: int
    offered_pct: float
    level: Level
    memory_allocated_mib: float
    memory_offered_mib: float
    waiting: float
    tenants: dict[str, Level]


class Point(msgspec.Struct, frozen=True):
    """One point of a chart."""

    at_ms: int
    offered_pct: float
    allocated_pct: float
    busy_pct: float


def sample_of(seen: Overview, at_ms: int) -> Sample:
    """Return the sample of what was seen of the whole pool."""
    totals = seen.totals
    return Sample(
        at_ms=at_ms,
        offered_pct=totals.compute_offered_pct,
        level=Level(totals.compute_allocated_pct, totals.busy_millipct / 1000),
        memory_allocated_mib=totals.memory_allocated_mib,
        memory_offered_mib=totals.memory_offered_mib,
        waiting=totals.waiting,
        tenants={one.tenant: Level(one.compute_pct, one.busy_millipct / 1000) for one in seen.tenants[:MAX_TENANTS]},
    )


class History:
    """The samples of a day."""

    def __init__(self, coarse: Sequence[Sample] = ()) -> None:
        self.coarse: deque[Sample] = deque(coarse, COARSE_KEPT)
        self._fine: deque[Sample] = deque(maxlen=FINE_KEPT)
        self._gathered: list[Sample] = []

    def __repr__(self) -> str:
        return f"<History of {len(self._fine)} fine and {len(self.coarse)} coarse samples>"

    def note(self, sample: Sample) -> bool:
        """Keep a sample; return whether a coarse one was made of it."""
        self._fine.append(sample)
        self._gathered.append(sample)
        if len(self._gathered) < FINE_IN_COARSE:
            return False
        self.coarse.append(mean(self._gathered))
        self._gathered = []
        return True

    def points(self, since_ms: int, tenant: str | None = None, at_most: int = 240) -> list[Point]:
        """Return the samples since a wall time, oldest first, of the pool or of one tenant, thinned where they are many."""
        begins = self._fine[0].at_ms if self._fine else 0
        rows = [sample for sample in self.coarse if not begins or sample.at_ms < begins] + list(self._fine)
        rows = [sample for sample in rows if sample.at_ms >= since_ms]
        step = -(-len(rows) // at_most) or 1
        # Counted from the newest, so that a chart does not jump when it moves on.
        return [_point(sample, tenant) for sample in reversed(rows[::-1][::step])]


def mean(samples: Sequence[Sample]) -> Sample:
    """Return what samples were in the middle; a tenant that is in none of some had nothing then."""
    count = len(samples)
    names = {name for sample in samples for name in sample.tenants}
    none = Level(0, 0)
    return Sample(
        at_ms=samples[-1].at_ms,
        offered_pct=sum(sample.offered_pct for sample in samples) / count,
        level=_mean([sample.level for sample in samples]),
        memory_allocated_mib=sum(sample.memory_allocated_mib for sample in samples) / count,
        memory_offered_mib=sum(sample.memory_offered_mib for sample in samples) / count,
        waiting=sum(sample.waiting for sample in samples) / count,
        tenants={name: _mean([sample.tenants.get(name, none) for sample in samples]) for name in sorted(names)},
    )


def _mean(levels: Sequence[Level]) -> Level:
    count = len(levels)
    return Level(sum(one.allocated_pct for one in levels) / count, sum(one.busy_pct for one in levels) / count)


def _point(sample: Sample, tenant: str | None) -> Point:
    level = sample.level if tenant is None else sample.tenants.get(tenant, Level(0, 0))
    return Point(sample.at_ms, sample.offered_pct, round(level.allocated_pct, 2), round(level.busy_pct, 2))
