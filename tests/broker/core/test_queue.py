"""The queue: who is served first, who may overtake, and what a long queue costs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from gpupool_broker.core import events as e
from gpupool_broker.core.placement import Ask
from gpupool_broker.core.queue import Queue, Waiting
from gpupool_broker.core.wants import Want
from gpupool_wire.errors import NotAuthorized, NotFound, SliceRefused
from gpupool_wire.messages import RequestSlice

Granted = Callable[[list[e.Effect]], str]
Refused = Callable[[list[e.Effect]], Exception]


def order(driver) -> list[str]:
    return [waiting.request_id for waiting in driver.pool.waiting.in_order(driver.pool.standing)]


def test_a_higher_priority_is_served_first(driver, slice_granted: Granted) -> None:
    driver.join()
    driver.quota(max_priority=90)
    whole = slice_granted(driver.request(100, tenant="other"))
    for request_id, priority in (("low", 10), ("usual", 50), ("high", 90)):
        assert driver.request(100, request_id=request_id, priority=priority, wait_ms=60_000) == []
    assert order(driver) == ["high", "usual", "low"]
    driver.release(whole, tenant="other")
    granted = driver.pool.slices[slice_granted(driver.wait(0))]
    assert (granted.priority, order(driver)) == (90, ["usual", "low"])


def test_a_priority_above_the_entitled_one_is_refused_with_both(driver, refused: Refused) -> None:
    driver.join()
    error = refused(driver.request(10, priority=51))
    assert isinstance(error, NotAuthorized)
    assert "t may ask with a priority of up to 50, not 51" in str(error)
    driver.quota(max_priority=60)
    assert "up to 60, not 61" in str(refused(driver.request(10, priority=61)))
    driver.quota("t/batch", max_priority=20)
    assert "t/batch may ask with a priority of up to 20, not 50" in str(refused(driver.request(10, project="batch")))


def test_among_equals_who_has_had_least_is_served_first(driver, slice_granted: Granted) -> None:
    driver.join(devices=2)
    greedy = slice_granted(driver.request(100, tenant="greedy"))
    driver.wait(1)
    driver.beat()
    slice_granted(driver.request(100, tenant="filler"))
    assert driver.request(100, tenant="greedy", request_id="second", wait_ms=600_000) == []
    assert driver.request(100, tenant="modest", request_id="first", wait_ms=600_000) == []
    assert order(driver) == ["first", "second"]
    driver.release(greedy, tenant="greedy")
    assert driver.pool.slices[slice_granted(driver.wait(0))].tenant == "modest"


def test_what_was_held_is_forgotten_by_half_in_an_hour(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(80))
    driver.now_ms += 100 * 3_600_000
    driver.release(slice_id)
    driver.pool.handle(e.Ticked(**driver.stamp()))
    before = driver.pool.standing("t")[0]
    driver.now_ms += 3_600_000
    driver.pool.handle(e.Ticked(**driver.stamp()))
    assert before == pytest.approx(0.8, abs=0.01)
    assert driver.pool.standing("t")[0] == pytest.approx(before / 2)


def test_a_guarantee_is_a_weight(driver, slice_granted: Granted) -> None:
    driver.join(devices=2)
    driver.quota("large", guaranteed_pct=400)
    driver.quota("small", guaranteed_pct=50)
    slice_granted(driver.request(60, tenant="large"))
    slice_granted(driver.request(20, tenant="small"))
    assert driver.pool.standing("large") < driver.pool.standing("small")


def test_small_requests_go_around_a_large_one_without_starving_it(driver, slice_granted: Granted) -> None:
    driver.join(devices=2)
    ids = [slice_granted(driver.request(40, 1024)) for _ in range(4)]
    by_device: dict[str, list[str]] = {}
    for slice_id in ids:
        by_device.setdefault(driver.pool.slices[slice_id].device, []).append(slice_id)
    assert sorted(map(len, by_device.values())) == [2, 2]
    assert driver.request(100, 1024, request_id="large", wait_ms=600_000) == []
    driver.wait(0)
    ((_, kept),) = driver.pool.claim.devices
    assert driver.pool.slices[slice_granted(driver.request(20, 1024))].device != kept
    assert driver.request(20, 1024, request_id="small", wait_ms=600_000) == []
    assert "kept for request large, which is ahead" in driver.pool.waiting.get("small").reason
    for slice_id in by_device[kept]:
        driver.release(slice_id)
        effects = driver.wait(0)
    assert driver.pool.slices[slice_granted(effects)].compute_pct == 100
    assert order(driver) == ["small"]


def test_who_outranks_the_large_one_may_take_what_is_kept(driver, slice_granted: Granted) -> None:
    driver.join()
    driver.quota("urgent", max_priority=80)
    slice_granted(driver.request(40))
    assert driver.request(100, request_id="large", wait_ms=600_000) == []
    driver.wait(0)
    assert driver.pool.slices[slice_granted(driver.request(50, tenant="urgent", priority=80))].compute_pct == 50


def test_the_kept_device_is_free_again_when_nobody_waits_for_it(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    slice_granted(driver.request(40))
    driver.request(100, request_id="large", wait_ms=600_000)
    driver.wait(0)
    assert "kept for request large" in str(refused(driver.request(10)))
    assert isinstance(refused(driver.cancel("large")), SliceRefused)
    driver.wait(0)
    assert slice_granted(driver.request(10))


@pytest.mark.parametrize("count", [1, 2])
def test_who_waits_is_not_told_to_wait(driver, slice_granted: Granted, refused: Refused, count: int) -> None:
    driver.join(devices=2)
    for _ in range(2):
        slice_granted(driver.request(100, tenant="other"))
    assert "wait for room (wait=SECONDS)" in str(refused(driver.request(50, count=count)))
    assert driver.request(50, count=count, request_id="waits", wait_ms=60_000) == []
    driver.wait(1)
    (waiting,) = driver.pool.waiting.in_order(driver.pool.standing)
    assert waiting.reason.startswith("asked ")
    assert "wait for" not in waiting.reason


def test_a_cancelled_request_is_answered_and_gone(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    slice_granted(driver.request(100))
    driver.request(10, request_id="patient", wait_ms=600_000)
    assert isinstance(refused(driver.cancel("patient", tenant="another")), NotFound)
    told, done = driver.cancel("patient")
    assert isinstance(told, e.AnswerError)
    assert "cancelled by its caller" in str(told.error)
    assert done == e.AnswerDone(caller="c", value="patient")
    assert len(driver.pool.waiting) == 0
    assert isinstance(refused(driver.cancel("patient")), NotFound)


def test_a_caller_that_left_waits_no_more(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_granted(driver.request(100))
    driver.request(10, request_id="patient", wait_ms=600_000)
    (waiting,) = driver.pool.waiting
    driver.send(e.CallerLeft(**driver.stamp(), caller=waiting.event.caller))
    assert len(driver.pool.waiting) == 0


def test_a_repeated_waiting_request_keeps_its_place(driver, slice_granted: Granted) -> None:
    driver.join()
    whole = slice_granted(driver.request(100))
    for request_id in ("first", "second", "first"):
        assert driver.request(100, request_id=request_id, wait_ms=600_000) == []
    assert order(driver) == ["first", "second"]
    last_caller = driver.pool.waiting.get("first").event.caller
    driver.release(whole)
    (answer,) = [effect for effect in driver.wait(0) if isinstance(effect, e.AnswerSlice)]
    assert answer.caller == last_caller


def a_request(number: int, compute: int, wait_ms: int = 60_000) -> e.SliceRequested:
    message = RequestSlice(call_id=1, request_id=f"r{number}", compute_pct=compute, memory_mib=1 + number, wait_ms=wait_ms)
    return e.SliceRequested(now_ms=0, at_ms=0, caller=number, tenant="t", holder="", request=message)


def test_a_queue_of_100_000_unlike_requests_stays_quick() -> None:
    queue = Queue()
    for number in range(100_000):
        event = a_request(number, 50)
        want = Want(ask=Ask(compute_pct=50, memory_mib=1 + number), account=f"t{number % 7}")
        queue.add(Waiting(event, want, "full"))
    began = time.perf_counter()
    for _ in range(100):
        queue.remove(next(queue.heads(lambda account: (0.0,))))
    per_removal_s = (time.perf_counter() - began) / 100
    assert len(queue) == 99_900
    assert per_removal_s < 0.02
    assert len(list(queue.in_order(lambda account: (0.0,)))) == 99_900
    assert len(list(queue.overdue(60_000))) == 99_900
    assert len(queue) == 0


def test_a_wall_clock_that_goes_backwards_changes_no_standing(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(80))
    driver.now_ms += 3_600_000
    driver.release(slice_id)
    before = driver.pool.standing("t")
    back = {"now_ms": driver.now_ms + 1, "at_ms": 1_600_000_000_000}
    driver.send(e.Ticked(**back))
    assert driver.pool.standing("t") == before
    assert driver.replayed().shares.standing("t", None, 1_600_000_000_000) == before[0]
