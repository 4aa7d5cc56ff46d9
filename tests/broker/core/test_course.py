"""A slice over time, from its facts: the sums are the journal's."""

from __future__ import annotations

import pytest

from gpupool_broker.core import facts as f
from gpupool_broker.core.course import FINEST_MS, MAX_POINTS, course
from gpupool_broker.core.folded import UseFolded
from gpupool_wire.units import Hold, Policy

START = 1_700_000_000_000
GRANTED = f.SliceGranted(
    at_ms=START,
    slice_id="s",
    epoch=1,
    request_id="r",
    tenant="t",
    node="n",
    device="d",
    compute_pct=40,
    memory_mib=1,
    policy=Policy.FIXED,
    hold=Hold.HELD,
)


def used(at_s: float, device_ms: int, span_s: float = 10, throttled_ms: int = 0) -> f.SliceUsed:
    return f.SliceUsed(
        at_ms=START + int(at_s * 1000),
        slice_id="s",
        device_ns=device_ms * 1_000_000,
        throttled_ns=throttled_ms * 1_000_000,
        calls=1,
        span_ms=int(span_s * 1000),
    )


def test_promise_and_use_stand_side_by_side() -> None:
    rows = course([GRANTED, used(10, 4_000, throttled_ms=500), used(20, 1_000)], START, START + 20_000)
    assert [(row.granted_pct, row.achieved_pct, row.throttled_ms) for row in rows] == [(40, 40, 500), (40, 10, 0)]


def test_changes_of_size_and_pauses_show_in_the_promise() -> None:
    facts = [
        GRANTED,
        f.SliceResized(at_ms=START + 10_000, slice_id="s", epoch=2, compute_pct=60, memory_mib=1),
        f.SlicePaused(at_ms=START + 20_000, slice_id="s", epoch=3, by="admin", reason=""),
        f.SliceResumed(at_ms=START + 25_000, slice_id="s", epoch=4, by="admin"),
        f.SliceEnded(at_ms=START + 40_000, slice_id="s", epoch=5, how="released"),
    ]
    assert [row.granted_pct for row in course(facts, START - 99, START + 99_000)] == pytest.approx([40, 60, 30, 60])


def test_a_long_life_has_few_points_and_loses_nothing() -> None:
    facts = [GRANTED, *(used(10 * number, 2_000) for number in range(1, 3_601))]
    rows = course(facts, START, START + 36_000_000)
    assert len(rows) <= MAX_POINTS
    width = rows[1].at_ms - rows[0].at_ms
    spans = [min(width, START + 36_000_000 - row.at_ms) for row in rows]
    assert sum(row.achieved_pct / 100 * span for row, span in zip(rows, spans, strict=True)) == pytest.approx(3_600 * 2_000)


def test_what_is_not_told_yet_is_not_nothing() -> None:
    rows = course([GRANTED, used(10, 4_000)], START, START + 18_000)
    assert [row.achieved_pct for row in rows] == [40]


def test_what_was_before_is_left_out() -> None:
    rows = course([GRANTED, used(10, 4_000), used(3_600, 1_000)], START + 3_590_000, START + 3_600_000)
    assert [(row.at_ms, row.granted_pct, row.achieved_pct) for row in rows] == [(START + 3_590_000, 40, 10)]
    assert course([GRANTED], START + FINEST_MS, START) == []


def test_what_is_folded_goes_on_in_quarter_hours() -> None:
    hour = START - START % 3_600_000 + 3_600_000
    quarter = hour // 900_000
    folded = UseFolded(
        at_ms=hour + 1_800_000,
        uses=[("s", quarter, 360_000 * 10**6, 0, 14), ("s", quarter + 1, 90_000 * 10**6, 5, 14)],
        totals=[("s", 450_000 * 10**6, 1_800 * 10**6, 9, hour + 1_800_000)],
    )
    rows = course([folded, GRANTED], hour, hour + 1_800_000)
    width = rows[1].at_ms - rows[0].at_ms
    had = [row.achieved_pct for row in rows]
    assert (had[0], had[900_000 // width], had[-1]) == pytest.approx((40, 0, 15))
    assert sum(had) * width / 100 == pytest.approx(450_000)
    assert sum(row.throttled_ms for row in rows) == pytest.approx(1_800)
