"""A month of a made-up pool through the journal: the report agrees with a computation that shares nothing with it, sum by sum."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

from bench.month import disagreements
from bench.month_facts import HOUR_MS, Month
from bench.recompute import recompute
from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.core.invariants import check
from gpupool_broker.core.pool import Pool

PERIOD = period_of("2026-10", "Europe/Berlin")
RESERVED, MEMORY, USED = Fraction("0.0213"), Fraction("0.0011"), Fraction("0.7")


@pytest.fixture(scope="module")
def month() -> list[f.Fact]:
    return list(Month(PERIOD, tenants=6, devices=4, per_node=2, seed=7).facts())


def test_the_month_is_one_a_broker_could_have_had(month) -> None:
    pool = Pool(lambda: "never asked")
    for fact in month:
        pool.apply(f.decode_fact(f.encode_fact(fact)))
    check(pool)
    assert {type(fact).__name__ for fact in month} >= {"SliceResized", "SliceMoved", "SliceStranded", "DevicePowered"}
    assert all(one.at_ms <= other.at_ms for one, other in pairwise(month))


def test_the_report_agrees_with_another_computation(store, ledger, month) -> None:
    price = f.PriceSet(
        at_ms=month[0].at_ms,
        by="x",
        valid_from="2026-01-01",
        currency="EUR",
        reserved_pct_hour=str(float(RESERVED)),
        memory_gib_hour=str(float(MEMORY)),
        used_hour=str(float(USED)),
    )
    store.append([price, *month])
    report = ledger(hours=24 * 31 + 3).report(PERIOD, by="project")
    theirs = recompute(month, PERIOD.start_ms, PERIOD.end_ms)
    assert disagreements(report, theirs) == []
    for row in report.rows:
        mine = theirs[row.key]
        cost = (
            Fraction(mine.reserved_pct_ms, HOUR_MS) * RESERVED
            + Fraction(mine.reserved_mib_ms, 1024 * HOUR_MS) * MEMORY
            + (mine.used_ns - mine.burst_ns) / (HOUR_MS * 1_000_000) * USED
        )
        assert row.total_cents == int(100 * cost + Fraction(1, 2))
    assert report.total.total_cents == sum(row.total_cents for row in report.rows)


def test_what_devices_drew_is_shared_out_whole(store, ledger, month) -> None:
    store.append(month)
    report = ledger(hours=24 * 31 + 3).report(PERIOD)
    shared = report.total.sums.active_mj + report.total.sums.idle_mj
    assert shared + report.devices.unheld_mj == report.devices.energy_mj > 0


def test_every_zone_counts_the_same_time_once(store, ledger, month) -> None:
    store.append(month)
    counted = ledger(hours=24 * 31 + 3)
    days = [counted.report(period_of(f"2026-10-{day:02}", "Asia/Kathmandu")).total.sums for day in range(2, 31)]
    whole = counted.report(period_of("2026-10-02..2026-10-30", "Asia/Kathmandu")).total.sums
    for name in ("held_ms", "reserved_pct_ms", "used_ns", "burst_ns", "idle_mj"):
        assert sum(getattr(sums, name) for sums in days) == getattr(whole, name)
