"""What the meter counts, quarter by quarter."""

from __future__ import annotations

import msgspec

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.days import DEVICE_COLUMNS, TENANT_COLUMNS, Day
from gpupool_broker.core.accounting.meter import Meter, MeterState
from gpupool_wire.units import Policy

HOUR_MS = 3_600_000


def columns(day: Day) -> dict[str, int]:
    return dict(zip(TENANT_COLUMNS if day.tenant else DEVICE_COLUMNS, day.totals, strict=True))


def test_a_slice_reserves_what_it_holds_as_long_as_it_holds_it(told) -> None:
    told.join()
    told.grant(1, pct=40, mib=512)
    told.end(3.5)
    device, tenant = told.days(30)[:2]
    assert columns(device)["up_ms"] == 24 * HOUR_MS
    assert columns(device)["held_ms"] == 2.5 * HOUR_MS
    assert columns(tenant)["reserved_pct_ms"] == 40 * 2.5 * HOUR_MS
    assert columns(tenant)["reserved_mib_ms"] == 512 * 2.5 * HOUR_MS


def test_a_resize_counts_from_its_moment(told) -> None:
    told.join()
    told.grant(0, pct=40, mib=100)
    told.tell(f.SliceResized(at_ms=told.at(1), slice_id="s", epoch=2, compute_pct=10, memory_mib=300))
    told.end(2)
    tenant = columns(told.days(30)[1])
    assert tenant["reserved_pct_ms"] == 50 * HOUR_MS
    assert tenant["reserved_mib_ms"] == 400 * HOUR_MS
    assert tenant["held_ms"] == 2 * HOUR_MS


def test_a_stranded_slice_holds_nothing_until_it_is_placed_again(told) -> None:
    told.join(devices=2)
    told.grant(0, pct=40)
    told.tell(f.SliceStranded(at_ms=told.at(1), slice_id="s", epoch=2, reason="lost"))
    told.tell(f.SliceMoved(at_ms=told.at(3), slice_id="s", epoch=3, node="n", device="g1"))
    told.end(4)
    held = {day.device: columns(day)["reserved_pct_ms"] for day in told.days(30) if day.tenant}
    assert held == {"g0": 40 * HOUR_MS, "g1": 40 * HOUR_MS}


def test_a_paused_slice_holds_its_memory_and_no_compute(told) -> None:
    told.join()
    told.grant(0, pct=40, mib=100)
    told.tell(f.SlicePaused(at_ms=told.at(1), slice_id="s", epoch=2, by="admin", reason="r"))
    told.tell(f.SliceResumed(at_ms=told.at(4), slice_id="s", epoch=3, by="admin"))
    told.end(5)
    tenant = columns(told.days(30)[1])
    assert tenant["reserved_pct_ms"] == 2 * 40 * HOUR_MS
    assert tenant["reserved_mib_ms"] == 5 * 100 * HOUR_MS


def test_a_slice_paused_while_it_waits_for_a_device_holds_nothing(told) -> None:
    told.join()
    told.grant(0, pct=40)
    told.tell(f.SliceStranded(at_ms=told.at(1), slice_id="s", epoch=2, reason="lost"))
    told.tell(f.SlicePaused(at_ms=told.at(2), slice_id="s", epoch=3, by="admin", reason="r"))
    told.tell(f.SliceResumed(at_ms=told.at(3), slice_id="s", epoch=4, by="admin"))
    told.tell(f.SliceMoved(at_ms=told.at(4), slice_id="s", epoch=5, node="n", device="g0", compute_pct=10))
    told.end(5)
    tenant = columns(told.days(30)[1])
    assert (tenant["held_ms"], tenant["reserved_pct_ms"]) == (2 * HOUR_MS, 50 * HOUR_MS)


def test_room_kept_by_a_reservation_is_held_by_its_project(told) -> None:
    told.join()
    made = f.ReservationMade(
        at_ms=told.at(0),
        reservation_id="r",
        tenant="t",
        by="admin",
        count=1,
        compute_pct=30,
        memory_mib=256,
        start_ms=told.at(1),
        end_ms=told.at(3),
        project="p",
    )
    told.tell(made)
    told.tell(f.ReservationHeld(at_ms=told.at(1), reservation_id="r", slice_id="k", node="n", device="g0"))
    told.end(3, "k")
    told.tell(f.ReservationEnded(at_ms=told.at(3), reservation_id="r", reason="over"))
    tenant = told.days(30)[1]
    assert (tenant.tenant, columns(tenant)["reserved_pct_ms"]) == ("t/p", 60 * HOUR_MS)


def test_two_slices_of_a_tenant_hold_one_device_once(told) -> None:
    told.join()
    told.grant(0, "a", pct=10)
    told.grant(1, "b", pct=20)
    told.end(2, "a")
    told.end(3, "b")
    tenant = columns(told.days(30)[1])
    assert tenant["held_ms"] == 3 * HOUR_MS
    assert tenant["reserved_pct_ms"] == (10 + 30 + 20) * HOUR_MS


def test_use_beyond_the_share_is_burst_only_for_burst_slices(told) -> None:
    told.join(devices=2)
    told.grant(0, "a", tenant="a", pct=10, policy=Policy.BURST)
    told.grant(0, "b", tenant="b", pct=10, policy=Policy.FIXED, device="g1")
    for slice_id in ("a", "b"):
        told.use(0.25, slice_id, device_s=180, span_s=900)
        told.end(0.25, slice_id)
    burst, fixed = (columns(day) for day in told.days(30) if day.tenant)
    assert (burst["used_ns"], burst["burst_ns"], burst["late_ns"]) == (180 * 10**9, 90 * 10**9, 0)
    assert (fixed["used_ns"], fixed["burst_ns"], fixed["late_ns"]) == (180 * 10**9, 0, 90 * 10**9)


def test_use_is_spread_over_the_time_it_tells_of(told) -> None:
    told.join()
    told.grant(23)
    told.use(24.1, device_s=1000, span_s=0.2 * 3600)
    first, second = (columns(day)["used_ns"] for day in told.days(47) if day.tenant)
    assert (first, second) == (500 * 10**9, 500 * 10**9)


def test_use_told_after_a_quarter_was_settled_counts_in_the_oldest_open_one(told) -> None:
    told.join()
    told.grant(0)
    told.use(2, device_s=100, span_s=2 * 3600)
    day = next(day for day in told.days(30) if day.tenant)
    assert day.between(0, 7)[3] == 0
    assert day.between(7, 8)[3] == 100 * 10**9


def test_energy_is_shared_by_device_time_and_idle_energy_by_what_is_held(told) -> None:
    told.join()
    told.grant(0, "a", tenant="a", pct=50)
    told.grant(0, "b", tenant="b", pct=25)
    told.use(0.25, "a", device_s=90, span_s=900)
    told.power(0.25, joules=900, span_s=900)
    told.end(0.25, "a")
    told.end(0.25, "b")
    device, a, b = (columns(day) for day in told.days(30)[:3])
    assert device["energy_mj"] == 900_000
    assert (a["active_mj"], b["active_mj"]) == (90_000, 0)
    assert (a["idle_mj"], b["idle_mj"], device["unheld_mj"]) == (405_000, 202_500, 202_500)


def test_a_clock_that_steps_back_takes_nothing_away(told) -> None:
    told.join()
    told.grant(1)
    told.use(2, device_s=1)
    told.end(1.5)
    assert columns(told.days(30)[1])["reserved_pct_ms"] == 40 * HOUR_MS


def test_the_same_facts_in_two_sittings_give_the_same_days(told) -> None:
    told.join(devices=2)
    told.grant(0, "a", tenant="a", waited_ms=70_000)
    told.use(5, "a", device_s=3, span_s=11)
    told.grant(23.9, "b", tenant="b", device="g1", policy=Policy.BURST, waited_ms=300)
    told.use(24.2, "b", device_s=500, span_s=600)
    told.end(49, "a")
    whole = told.days(80)
    for cut in range(1, len(told.facts)):
        first = Meter()
        for fact in told.facts[:cut]:
            first.take(fact)
        days = first.days()
        kept = msgspec.msgpack.decode(msgspec.msgpack.encode(first.state), type=MeterState)
        second = Meter(kept)
        for fact in told.facts[cut:]:
            second.take(fact)
        second.pass_time(told.at(80))
        assert days + second.days() + second.today() == whole
