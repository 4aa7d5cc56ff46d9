"""How one slice fared over time, from its facts in the journal: what it was promised, what it had, how long it waited.

SliceGranted · Resized · Paused · Resumed · Ended ──> promised        SliceUsed (a span and the device time in it) ──> had
                                                                      UseFolded (the same of quarter hours)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.folder import HOUR_MS
from gpupool_broker.core.accounting.grid import MINUTE_MS, QUARTER_MS
from gpupool_broker.core.folded import UseFolded

#: Points of a chart: more than that cannot be told apart on a screen.
MAX_POINTS: Final = 180
#: What is used within so long is one point at the finest: agents tell it about that often.
FINEST_MS: Final = 10_000
#: Use is told so late at the most.
LATE_MS: Final = 25_000
#: For records that do not say in what time it was used.
_USUAL_SPAN_MS: Final = 10_000


@dataclass(slots=True)
class Stretch:
    """One span of time of a slice. Shares in per cent of its device."""

    at_ms: int
    granted_pct: float = 0.0
    achieved_pct: float = 0.0
    throttled_ms: float = 0.0


def course(facts: Iterable[f.Fact], since_ms: int, until_ms: int) -> list[Stretch]:
    """Return the slice's life from `since_ms` to `until_ms` (wall clock) in equal stretches, oldest first.

    Use is spread evenly over the time it was used in, so that the sums are the journal's.
    """
    rows = list(facts)
    born = next((fact.at_ms for fact in rows if isinstance(fact, f.SliceGranted)), since_ms)
    over = next((fact.at_ms for fact in rows if isinstance(fact, f.SliceEnded)), until_ms)
    told = max((fact.at_ms for fact in rows if isinstance(fact, f.SliceUsed)), default=0)
    if until_ms - told <= LATE_MS:
        # What was used since is not told yet, and is not nothing.
        until_ms = told
    begin, end = max(born, since_ms), min(over, until_ms)
    if end <= begin:
        return []
    width = max(FINEST_MS, -(-(end - begin) // MAX_POINTS))
    stretches = [Stretch(at_ms) for at_ms in range(begin, end, width)]
    for start, stop, share in _promises(rows, end):
        for stretch, part in _parts(stretches, start, stop, width):
            stretch.granted_pct += share * part / min(width, end - stretch.at_ms)
    for start, stop, device_ns, throttled_ns in _uses(rows):
        for stretch, part in _parts(stretches, start, stop, width):
            stretch.achieved_pct += 100 * device_ns / 1e6 * part / (stop - start) / min(width, end - stretch.at_ms)
            stretch.throttled_ms += throttled_ns / 1e6 * part / (stop - start)
    return stretches


def _uses(facts: Sequence[f.Fact]) -> Iterable[tuple[int, int, int, int]]:
    """Yield (from, to, device ns, throttled ns) of what the slice had. How long it was throttled is folded by the hour."""
    for fact in facts:
        match fact:
            case f.SliceUsed():
                yield fact.at_ms - (fact.span_ms or _USUAL_SPAN_MS), fact.at_ms, fact.device_ns, fact.throttled_ns
            case UseFolded():
                for _, quarter, device_ns, first, last in fact.uses:
                    start = quarter * QUARTER_MS
                    yield start + first * MINUTE_MS, start + (last + 1) * MINUTE_MS, device_ns, 0
                for _, _, throttled_ns, _, told_ms in fact.totals:
                    yield (told_ms - 1) // HOUR_MS * HOUR_MS, told_ms, 0, throttled_ns


def _promises(facts: Sequence[f.Fact], end: int) -> Iterable[tuple[int, int, int]]:
    """Yield (from, to, per cent) of what the slice was promised; nothing while it was paused or had no device."""
    since, size, is_running = 0, 0, True
    for fact in facts:
        before = size if is_running else 0
        match fact:
            case f.SliceGranted() | f.SliceResized():
                size = fact.compute_pct
            case f.SliceMoved():
                size, is_running = fact.compute_pct or size, True
            case f.SlicePaused() | f.SliceStranded():
                is_running = False
            case f.SliceResumed():
                is_running = True
            case f.SliceEnded():
                yield since, fact.at_ms, before
                return
            case _:
                continue
        if since:
            yield since, fact.at_ms, before
        since = fact.at_ms
    yield since, end, size if is_running else 0


def _parts(stretches: Sequence[Stretch], start: int, stop: int, width: int) -> Iterable[tuple[Stretch, int]]:
    """Yield the stretches that a span of time touches, and how many milliseconds of it lie in each."""
    origin = stretches[0].at_ms
    for index in range(max(0, (start - origin) // width), min(len(stretches), -(-(stop - origin) // width))):
        begins = stretches[index].at_ms
        part = min(stop, begins + width) - max(start, begins)
        if part > 0:
            yield stretches[index], part
