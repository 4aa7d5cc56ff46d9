"""The history of use: fine and coarse samples, a tenant's own, and no more than a chart can show."""

from __future__ import annotations

import msgspec

from gpupool_broker.core.history import COARSE_KEPT, FINE_IN_COARSE, FINE_KEPT, History, Level, Sample, mean, sample_of
from gpupool_broker.core.overview import Overview, TenantShare, Totals


def sample(number: int, allocated: float = 40, busy: float = 20, **tenants: tuple[float, float]) -> Sample:
    levels = {name: Level(*level) for name, level in tenants.items()}
    return Sample(number * 10_000, 100, Level(allocated, busy), 0, 0, 0, levels)


def test_a_sample_is_what_was_seen() -> None:
    totals = Totals(compute_offered_pct=200, compute_allocated_pct=50, busy_millipct=12_345)
    seen = Overview(totals=totals, alarms=[], tenants=[TenantShare(tenant="t", compute_pct=50, busy_millipct=12_345)])
    made = sample_of(seen, 7)
    assert (made.at_ms, made.level, made.tenants) == (7, Level(50, 12.345), {"t": Level(50, 12.345)})


def test_coarse_samples_are_means_and_a_tenant_that_left_had_nothing() -> None:
    made = mean([sample(1, 40, 20, a=(40, 20)), sample(2, 60, 0)])
    assert (made.at_ms, made.level, made.tenants) == (20_000, Level(50, 10), {"a": Level(20, 10)})


def test_fine_gives_way_to_coarse_and_both_are_bounded() -> None:
    history = History()
    made = sum(history.note(sample(number)) for number in range(FINE_IN_COARSE * (COARSE_KEPT + 10)))
    assert made == COARSE_KEPT + 10
    points = history.points(0, at_most=100_000)
    assert [point.at_ms for point in points] == sorted({point.at_ms for point in points})
    assert len(points) == FINE_KEPT + COARSE_KEPT - FINE_KEPT // FINE_IN_COARSE
    assert len(history.points(0, at_most=240)) <= 240
    assert history.points(0, at_most=240)[-1].at_ms == points[-1].at_ms


def test_a_tenant_sees_its_own_levels() -> None:
    history = History()
    history.note(sample(1, 90, 80, a=(40, 20), b=(50, 60)))
    (point,) = history.points(0, "a")
    assert (point.allocated_pct, point.busy_pct, point.offered_pct) == (40, 20, 100)
    assert history.points(0, "stranger")[0].allocated_pct == 0


def test_coarse_samples_outlive_a_restart() -> None:
    history = History()
    for number in range(FINE_IN_COARSE):
        history.note(sample(number, a=(1, 1)))
    kept = msgspec.msgpack.encode(list(history.coarse))
    again = History(msgspec.msgpack.decode(kept, type=list[Sample]))
    assert again.points(0) == history.points(0)[-1:]
