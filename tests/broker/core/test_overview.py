"""The pool at a glance: sums of what is up, alarms the worst first, a tenant's own part."""

from __future__ import annotations

import pytest

from gpupool_broker.api.inventory_shapes import device_shape
from gpupool_broker.core.overview import overview
from gpupool_wire.messages import BoardHealth, SliceUse


def use(slice_id: str, achieved: int, throttled_ms: int = 0, memory: int = 0) -> SliceUse:
    return SliceUse(
        slice_id=slice_id,
        epoch=1,
        device_ns=1,
        throttled_ns=0,
        calls=1,
        memory_bytes=memory,
        achieved_millipct=achieved,
        throttled_10s_ms=throttled_ms,
    )


def kinds(driver, tenant: str | None = None) -> list[str]:
    return [alarm.kind for alarm in overview(driver.pool, tenant).alarms]


def test_sums_are_of_what_is_up(driver, slice_granted) -> None:
    driver.join("node-1", devices=2)
    driver.join("node-2")
    slice_id = slice_granted(driver.request(40, 2048))
    driver.beat(driver.pool.slices[slice_id].node, use=(use(slice_id, 21_500, memory=512 * 2**20),))
    totals = overview(driver.pool).totals
    assert (totals.devices_up, totals.compute_offered_pct, totals.compute_allocated_pct) == (3, 300, 40)
    assert (totals.busy_millipct, totals.memory_allocated_mib, totals.memory_used_mib, totals.slices) == (21_500, 2048, 512, 1)


def test_a_lost_node_offers_nothing_and_strands_what_it_had(driver, slice_granted) -> None:
    driver.join("node-1")
    slice_granted(driver.request(40, 2048))
    driver.wait(60_000)
    seen = overview(driver.pool)
    assert (seen.totals.nodes, seen.totals.nodes_up, seen.totals.compute_offered_pct, seen.totals.stranded) == (1, 0, 0, 1)
    assert [alarm.kind for alarm in seen.alarms] == ["node_lost", "slice_stranded"]


@pytest.mark.parametrize(("achieved", "throttled_ms", "starves"), [(10_000, 5_000, True), (39_000, 5_000, False), (0, 0, False)])
def test_a_slice_starves_that_waits_and_gets_less_than_promised(driver, slice_granted, achieved, throttled_ms, starves) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(40, 2048))
    driver.beat(use=(use(slice_id, achieved, throttled_ms),))
    assert (kinds(driver) == ["slice_starving"]) is starves


def test_a_quota_is_told_of_before_it_refuses_and_when_it_is_passed(driver, slice_granted) -> None:
    driver.join()
    slice_granted(driver.request(45, 2048))
    driver.quota(compute=50)
    assert kinds(driver) == ["quota_near"]
    driver.quota(compute=40)
    (alarm,) = overview(driver.pool).alarms
    assert (alarm.kind, alarm.subject, alarm.values) == ("quota_over", "t", {"dimension": "compute", "held": 45, "limit": 40})


def test_a_tenant_sees_its_own(driver, slice_granted) -> None:
    driver.join(devices=2)
    mine = slice_granted(driver.request(30, 1024))
    other = slice_granted(driver.request(50, 1024, tenant="another"))
    driver.quota(compute=60)
    driver.beat(use=(use(mine, 3_000, 5_000), use(other, 4_000, 5_000)))
    seen = overview(driver.pool, "t")
    totals = seen.totals
    assert (totals.compute_allocated_pct, totals.compute_offered_pct, totals.busy_millipct, totals.slices) == (30, 60, 3_000, 1)
    assert [alarm.subject for alarm in seen.alarms] == [mine]
    assert [share.tenant for share in seen.tenants] == ["t"]


def test_tenants_are_ranked_by_what_they_hold(driver, slice_granted) -> None:
    driver.join(devices=2)
    slice_granted(driver.request(30, 1024))
    slice_granted(driver.request(50, 1024, tenant="another"))
    slice_granted(driver.request(10, 1024))
    assert [(one.tenant, one.compute_pct, one.slices) for one in overview(driver.pool).tenants] == [
        ("another", 50, 1),
        ("t", 40, 2),
    ]


def test_what_boards_say_is_kept_by_device_and_not_made_up(driver) -> None:
    driver.join(devices=2)
    driver.beat(boards=(BoardHealth(device="cpu0", temperature_c=61), BoardHealth(device="elsewhere", xid=79)))
    assert {where: board.temperature_c for where, board in driver.pool.boards.items()} == {("node-1", "cpu0"): 61}
    node = driver.pool.nodes["node-1"]
    first, second = (device_shape(driver.pool, node, device) for device in node.devices.values())
    assert (first.temperature_c, first.power_w, second.temperature_c) == (61, None, None)
    driver.wait(60_000)
    assert device_shape(driver.pool, node, node.devices["cpu0"]).temperature_c is None
