"""Reports of small pools, with figures worked out by hand."""

from __future__ import annotations

import pytest

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.report import GROUPINGS
from gpupool_wire.errors import UsageError
from gpupool_wire.units import Policy


def test_every_grouping_adds_up_to_the_same_total(told, price) -> None:
    told.tariff.apply(price(reserved_pct_hour="0.0137", memory_gib_hour="0.0007", used_hour="1.1", idle_pct_hour="0.0001"))
    told.join(devices=2)
    told.grant(5.3, "a", tenant="a/x", pct=33)
    told.grant(7.7, "b", tenant="a/y", pct=21, device="g1", policy=Policy.BURST)
    told.grant(100.1, "c", tenant="b", pct=13)
    told.use(101, "c", device_s=17.77, span_s=60)
    for slice_id in "abc":
        told.end(400.123, slice_id)
    reports = [told.report(zone=zone, by=by) for by in GROUPINGS for zone in ("UTC", "Europe/Berlin", "Asia/Kathmandu")]
    assert (
        len({(report.total.sums.reserved_pct_ms, report.total.sums.used_ns, report.total.total_cents) for report in reports}) == 1
    )
    for report in reports:
        assert sum(row.total_cents for row in report.rows) == report.total.total_cents
        assert [row.key for row in report.rows] == sorted({row.key for row in report.rows})


def test_a_tenants_own_report_is_its_line_of_everybodys(told, price) -> None:
    told.tariff.apply(price(reserved_pct_hour="0.0137"))
    told.join()
    told.grant(1, "a", tenant="a", pct=33)
    told.grant(1.11, "b", tenant="b", pct=21)
    told.end(2.7, "a")
    told.end(9.1, "b")
    everybody, own = told.report(), told.report(tenant="b")
    assert own.rows == [row for row in everybody.rows if row.key == "b"]
    assert own.total.cents == own.rows[0].cents


def test_a_price_holds_from_its_day_on_and_a_models_own_goes_first(told, price) -> None:
    told.tariff.apply(price(reserved_pct_hour="1"))
    told.tariff.apply(price(reserved_pct_hour="2", valid_from="2026-10-02"))
    told.tariff.apply(price(reserved_pct_hour="5", valid_from="2026-10-03", model="H"))
    told.tariff.apply(price(reserved_pct_hour="9", valid_from="2026-10-04"))
    told.join()
    told.grant(0, pct=1)
    told.end(5 * 24)
    by_day = told.report(by="day")
    assert [row.cents[0] for row in by_day.rows] == [2400, 4800, 12000, 12000, 12000]


def test_a_month_with_a_change_of_the_clock_has_all_its_hours(told) -> None:
    told.join(hours=-48)
    told.grant(-24, pct=1)
    report = told.report(zone="Europe/Berlin")
    assert report.total.sums.reserved_pct_ms == 745 * 3_600_000
    (longest,) = [row for row in told.report(zone="Europe/Berlin", by="day").rows if row.key == "2026-10-25"]
    assert longest.sums.held_ms == 25 * 3_600_000


def test_the_same_month_twice_is_equal_to_the_last_unit(told, price) -> None:
    told.tariff.apply(price(reserved_pct_hour="0.01"))
    told.join()
    told.grant(1)
    told.use(3, device_s=5)
    assert told.report().sha256() == told.report(until=24 * 60).sha256()


def test_components_of_a_bill(told, price) -> None:
    told.tariff.apply(
        price(
            reserved_pct_hour="0.1", memory_gib_hour="2", used_hour="10", burst_hour="4", idle_pct_hour="0.04", energy_kwh="0.5"
        )
    )
    told.join()
    told.grant(0, pct=10, mib=512, policy=Policy.BURST)
    for quarter in range(1, 5):
        # 5 % in the first half hour, 20 % in the second.
        told.use(quarter / 4, device_s=45 if quarter <= 2 else 180, span_s=900)
        told.power(quarter / 4, joules=900_000, span_s=900)
    told.end(1)
    report = told.report()
    # Held 10 %-hours, half a GiB-hour, 0.025 + 0.05 h within the share, 0.05 h beyond, 2.5 idle %-hours,
    # and of the one kilowatt-hour what somebody held or used.
    assert report.total.cents[:5] == [100, 100, 75, 20, 10]
    held = report.total.sums.active_mj + report.total.sums.idle_mj
    assert held + report.devices.unheld_mj == report.devices.energy_mj == 3_600_000_000
    assert report.total.cents[5] in (round(50 * held / 3.6e9), round(50 * held / 3.6e9) + 1, round(50 * held / 3.6e9) - 1)


def test_what_was_held_is_used_or_idle(told) -> None:
    told.join(devices=2)
    told.grant(0, "a", pct=10, policy=Policy.BURST)
    told.grant(0, "b", pct=20, device="g1")
    told.use(0.5, "a", device_s=200, span_s=900)
    told.use(0.75, "b", device_s=200, span_s=900)
    for slice_id in "ab":
        told.end(1, slice_id)
    sums = told.report().total.sums
    # 10 and 20 % of an hour held; within what was held 90 s were used in the one quarter and 180 s in the other.
    assert sums.idle_ns == (360 + 720 - 90 - 180) * 10**9
    assert (sums.burst_ns, sums.late_ns) == (110 * 10**9, 20 * 10**9)


def test_whole_devices_are_the_comparison(told, price) -> None:
    told.tariff.apply(price(reserved_pct_hour="0.01"))
    told.join()
    for number, tenant in enumerate("abcd"):
        told.grant(0, tenant, tenant=tenant, pct=25, mib=64 + number)
    for tenant in "abcd":
        told.end(10, tenant)
    report = told.report()
    assert report.total.sums.held_ms == 4 * report.devices.held_ms
    assert (report.total.total_cents, report.total.whole_cents) == (1000, 4000)


def test_carbon_needs_a_factor_and_measured_energy(told) -> None:
    told.join()
    told.grant(0, pct=100)
    told.power(1, joules=3_600_000, span_s=900)
    told.end(2)
    assert told.report().total.grams is None
    told.tariff.apply(f.CarbonSet(at_ms=0, by="x", valid_from="2026-01-01", grams_per_kwh="380"))
    assert told.report().total.grams == 380


def test_what_was_not_measured_or_priced_is_said(told) -> None:
    told.join()
    told.grant(0)
    notes = " ".join(told.report().notes)
    assert "not measured" in notes
    assert "No prices are set" in notes
    assert told.report().total.grams is None


def test_waits_have_percentiles_by_line(told) -> None:
    told.join()
    for number in range(100):
        told.grant(number / 100, f"s{number}", pct=1, mib=1, waited_ms=number)
        told.end(number / 100, f"s{number}")
    row = told.report().rows[0]
    assert (row.grants, row.wait_p50_ms, row.wait_p95_ms) == (100, 49, 94)


def test_an_empty_month_says_so(told) -> None:
    told.join()
    report = told.report("2026-09")
    assert (report.rows, report.total.sums.held_ms, report.notes[0]) == ([], 0, "Nobody held anything in this time.")


def test_advice_names_who_holds_more_than_it_uses(told) -> None:
    told.join()
    told.grant(0, pct=40)
    for minute in range(1, 3 * 24 * 60 + 1):
        told.use(minute / 60, device_s=3.6, span_s=60)
    told.end(72)
    (advice,) = told.report().advice
    assert str(advice) == "t held 40 % of n/g0, used 6 % at p95 for 3.0 days: 10 % would do"


def test_an_unknown_grouping_is_refused(told) -> None:
    with pytest.raises(UsageError, match="grouped by 'colour'"):
        told.report(by="colour")


def test_days_without_quarter_hours_are_reported_in_utc_only(told) -> None:
    told.join()
    told.grant(0)
    told.days(24 * 40)
    for day in told._days:
        day.cells = None
    assert told.report().total.sums.held_ms == 744 * 3_600_000
    with pytest.raises(UsageError, match="ask in UTC"):
        told.report(zone="Europe/Berlin")
