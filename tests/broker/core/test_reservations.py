"""Windows of reserved room, gangs, and what a device must be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpupool_broker.core import events as e
from gpupool_broker.core.invariants import check
from gpupool_broker.core.scheduling import Rules
from gpupool_broker.core.state import SliceState
from gpupool_wire.errors import NotFound, UsageError
from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import Apart, Arrange

Granted = Callable[[list[e.Effect]], str]
Refused = Callable[[list[e.Effect]], Exception]


def ids_of(effects: list[e.Effect]) -> tuple[str, ...]:
    (answer,) = [effect for effect in effects if isinstance(effect, e.AnswerGang)]
    return answer.slice_ids


def made(effects: list[e.Effect]) -> str:
    (answer,) = [effect for effect in effects if isinstance(effect, e.AnswerDone)]
    return str(answer.value)


def let_run(driver, ms: int) -> list[e.Effect]:
    effects: list[e.Effect] = []
    for _ in range(ms // 1_000):
        for node in driver.pool.nodes:
            driver.beat(node)
        effects += driver.wait(1_000)
    return effects


# ── reservations ──────


def test_reserved_room_is_kept_for_its_account_and_given_to_it(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join(devices=2)
    reservation = made(driver.reserve("night", count=2, compute=80, memory=2048))
    driver.wait(0)
    assert len(driver.pool.reserved[reservation]) == 2
    assert "20 % and 6144 MiB free" in str(refused(driver.request(30, 1024, tenant="day")))
    slice_ = driver.pool.slices[slice_granted(driver.request(60, 1024, tenant="night"))]
    assert slice_.reservation == reservation
    driver.release(slice_.slice_id, tenant="night")
    driver.wait(0)
    states = [driver.pool.slices[i].state for i in driver.pool.reserved[reservation]]
    assert states == [SliceState.RESERVED] * 2


def test_a_window_begins_with_a_notice_and_ends_on_time(make_driver, slice_granted: Granted, refused: Refused) -> None:
    driver = make_driver(rules=Rules(min_runtime_ms=0, notice_ms=5_000))
    driver.join()
    slice_granted(driver.request(100, 1024, tenant="day"))
    reservation = made(driver.reserve("night", compute=100, memory=1024, after_ms=20_000, for_ms=30_000))
    let_run(driver, 14_000)
    assert reservation not in driver.pool.reserved
    let_run(driver, 2_000)
    assert len(driver.pool.reserved[reservation]) == 1
    assert [s.tenant for s in driver.pool.slices.values() if s.paused_by] == ["day"]
    assert "0 % and" in str(refused(driver.request(100, 1024, tenant="night")))
    let_run(driver, 5_000)
    night = slice_granted(driver.request(100, 1024, tenant="night"))
    let_run(driver, 30_000)
    assert driver.pool.reservations == {}
    assert driver.pool.slices[night].state is SliceState.LIVE
    driver.release(night, tenant="night")
    let_run(driver, 1_000)
    assert [s.paused_by for s in driver.pool.slices.values() if s.tenant == "day"] == [""]
    check(driver.pool)


def test_a_cancelled_reservation_frees_its_room(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    reservation = made(driver.reserve("night", compute=100))
    driver.wait(0)
    assert "of night has no room for t now" in str(refused(driver.request(10, reservation=reservation)))
    made(driver.unreserve(reservation))
    assert slice_granted(driver.request(100))
    assert isinstance(refused(driver.unreserve(reservation)), NotFound)
    assert isinstance(refused(driver.request(10, reservation=reservation)), NotFound)


@pytest.mark.parametrize(("after_ms", "for_ms"), [(-60_000, 120_000), (0, 0), (0, -5), (0, 32 * 24 * 3_600_000)])
def test_an_impossible_window_is_refused(driver, refused: Refused, after_ms: int, for_ms: int) -> None:
    assert isinstance(refused(driver.reserve(after_ms=after_ms, for_ms=for_ms)), UsageError)


def test_a_reservation_above_the_quota_is_refused(driver, refused: Refused) -> None:
    driver.quota("t", compute=90)
    assert "t may never hold 2 x 50 %" in str(refused(driver.reserve(count=2)))


def test_reserved_room_follows_when_its_node_is_lost(driver) -> None:
    driver.join("node-1")
    driver.join("node-2")
    reservation = made(driver.reserve(compute=50))
    driver.wait(0)
    (kept,) = driver.pool.reserved[reservation]
    lost = driver.pool.slices[kept].node
    driver.send(e.AgentLeft(**driver.stamp(), node=lost, reason="gone"))
    driver.wait(0)
    (kept,) = driver.pool.reserved[reservation]
    assert driver.pool.slices[kept].node != lost


def test_reserved_room_is_no_slice_to_release(driver, refused: Refused) -> None:
    driver.join()
    reservation = made(driver.reserve(compute=50))
    driver.wait(0)
    (kept,) = driver.pool.reserved[reservation]
    assert "cancel the reservation" in str(refused(driver.release(kept)))


# ── gangs ──────


def test_a_gang_gets_all_its_devices_or_none(driver, refused: Refused) -> None:
    driver.join("node-1", devices=2)
    driver.join("node-2", devices=2)
    members = [driver.pool.slices[i] for i in ids_of(driver.request(60, 1024, count=3))]
    assert len({(s.node, s.device) for s in members}) == 3
    assert len({s.gang for s in members}) == 1
    before = set(driver.pool.slices)
    error = refused(driver.request(60, 1024, count=2))
    assert "asked 2 devices with 60 % and 1024 MiB each; 1 on 1 node(s) have room now, of 4 that could" in str(error)
    assert set(driver.pool.slices) == before
    assert "the pool has 4 that are up and could host that" in str(refused(driver.request(60, 1024, count=5, wait_ms=9_000)))


def test_gangs_are_packed_or_spread(driver) -> None:
    for number in range(4):
        driver.join(f"node-{number}", devices=4)
    nodes = [driver.pool.slices[i].node for i in ids_of(driver.request(50, 1024, count=4))]
    assert len(set(nodes)) == 1
    nodes = [driver.pool.slices[i].node for i in ids_of(driver.request(50, 1024, count=4, arrange=Arrange.SPREAD))]
    assert len(set(nodes)) == 4


def test_a_repeated_gang_request_gets_the_same_slices(driver) -> None:
    driver.join(devices=2)
    first = ids_of(driver.request(50, 1024, count=2, request_id="same"))
    assert ids_of(driver.request(50, 1024, count=2, request_id="same")) == first
    driver.pool = driver.replayed()
    assert ids_of(driver.request(50, 1024, count=2, request_id="same")) == first


def test_a_waiting_gang_is_not_starved_by_single_slices(driver, slice_granted: Granted) -> None:
    driver.join(devices=2)
    first, second = (slice_granted(driver.request(60, 1024)) for _ in range(2))
    assert driver.request(100, 1024, count=2, request_id="gang", wait_ms=600_000) == []
    driver.wait(0)
    driver.release(first)
    driver.wait(0)
    assert driver.request(60, 1024, request_id="single", wait_ms=600_000) == []
    driver.release(second)
    assert len(ids_of(driver.wait(0))) == 2
    assert "single" in driver.pool.waiting


def test_a_gang_counts_in_its_quota_as_a_whole(driver, refused: Refused) -> None:
    driver.join(devices=4)
    driver.quota(compute=150)
    assert "may hold 150 % of compute and holds 0 %; this asks for 160 % more" in str(refused(driver.request(80, 1024, count=2)))
    assert len(ids_of(driver.request(75, 1024, count=2))) == 2


# ── what a device must be ──────


def join_labelled(driver, node: str, model: str, labels: dict[str, str]) -> None:
    info = DeviceInfo(device="cuda0", kind="cuda", model=model, memory_mib=8192, labels=labels)
    driver.send(e.AgentGreeted(**driver.stamp(), caller="a", node=node, door="tcp://127.0.0.1:1", devices=(info,)))


def test_constraints_travel_with_a_slice_wherever_it_goes(driver, slice_granted: Granted) -> None:
    join_labelled(driver, "old", "T4", {"driver": "470.1", "tflops": "8"})
    join_labelled(driver, "new-1", "H200", {"driver": "570.3", "tflops": "60"})
    join_labelled(driver, "new-2", "H200", {"driver": "570.10", "tflops": "60"})
    wants = {"models": ["H200"], "at_least": {"driver": "570.3"}}
    slice_ = driver.pool.slices[slice_granted(driver.request(30, 1024, **wants))]
    assert slice_.node.startswith("new")
    there = slice_.node
    driver.send(e.AgentLeft(**driver.stamp(), node=there, reason="gone"))
    driver.wait(0)
    assert {slice_.node, there} == {"new-1", "new-2"}
    driver.send(e.AgentLeft(**driver.stamp(), node=slice_.node, reason="gone"))
    driver.wait(0)
    assert slice_.state is SliceState.STRANDED


def test_equal_asks_in_tflops_get_equal_work(driver, slice_granted: Granted) -> None:
    join_labelled(driver, "slow", "T4", {"tflops": "8"})
    join_labelled(driver, "fast", "H200", {"tflops": "60"})
    by_model = {}
    for model in ("T4", "H200"):
        slice_ = driver.pool.slices[slice_granted(driver.request(0, 1024, tflops=6, models=[model]))]
        by_model[model] = slice_.compute_pct
    assert by_model == {"T4": 75, "H200": 10}


def test_near_and_apart(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join("node-1", devices=2)
    driver.join("node-2", devices=2)
    first = driver.pool.slices[slice_granted(driver.request(20, label="web", apart=Apart.NODE))]
    second = driver.pool.slices[slice_granted(driver.request(20, label="web", apart=Apart.NODE))]
    assert first.node != second.node
    assert "not on node-1, not on node-2" in str(refused(driver.request(20, label="web", apart=Apart.NODE)))
    third = driver.pool.slices[slice_granted(driver.request(20, label="web", apart=Apart.DEVICE))]
    assert (third.node, third.device) not in {(first.node, first.device), (second.node, second.device)}
    beside = driver.pool.slices[slice_granted(driver.request(20, near=second.slice_id))]
    assert beside.node == second.node
    assert isinstance(refused(driver.request(20, near="nowhere")), NotFound)
    assert isinstance(refused(driver.request(20, near=second.slice_id, tenant="other")), NotFound)
