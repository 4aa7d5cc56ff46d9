"""Borrowing and taking back: elastic slices shrink, others pause, others are evicted with notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.invariants import check
from gpupool_broker.core.scheduling import GROW_AFTER_MS, SCHEDULER, Rules
from gpupool_broker.core.state import SliceState
from gpupool_wire.errors import Conflict, SliceRefused

Granted = Callable[[list[e.Effect]], str]
Refused = Callable[[list[e.Effect]], Exception]
RULES = Rules(min_runtime_ms=10_000, notice_ms=5_000)


@pytest.fixture
def pool_of_two(make_driver):
    """A device that "lender" has half of guaranteed, and that "borrower" has filled."""
    driver = make_driver(rules=RULES)
    driver.join(memory_mib=8192)
    driver.quota("lender", guaranteed_pct=50, guaranteed_mib=4096)
    driver.quota("borrower", guaranteed_pct=50, guaranteed_mib=4096)
    yield driver
    check(driver.pool)


def let_run(driver, ms: int) -> list[e.Effect]:
    """Let time pass with beats, so that no node is lost."""
    effects: list[e.Effect] = []
    for _ in range(ms // 1_000):
        driver.beat()
        effects += driver.wait(1_000)
    return effects


def test_who_asks_for_what_is_guaranteed_gets_it_at_once_from_who_borrowed(pool_of_two, slice_granted: Granted) -> None:
    driver = pool_of_two
    first = slice_granted(driver.request(50, 1024, tenant="borrower"))
    driver.now_ms += 1
    second = slice_granted(driver.request(50, 1024, tenant="borrower"))
    let_run(driver, 11_000)
    assert driver.request(50, 1024, tenant="lender", request_id="mine") == []
    effects = driver.wait(0)
    assert driver.pool.slices[slice_granted(effects)].tenant == "lender"
    paused = [driver.pool.slices[i] for i in (first, second) if driver.pool.slices[i].paused_by]
    assert [(s.slice_id, s.paused_by, s.memory_mib) for s in paused] == [(second, SCHEDULER, 1024)]
    told = [effect.slice for effect in effects if isinstance(effect, e.AssignSlice) and effect.slice.slice_id == second]
    assert [assignment.is_paused for assignment in told] == [True]


def test_what_was_paused_goes_on_when_there_is_room_again(pool_of_two, slice_granted: Granted) -> None:
    driver = pool_of_two
    whole = slice_granted(driver.request(100, 1024, tenant="borrower"))
    let_run(driver, 11_000)
    driver.request(50, 1024, tenant="lender")
    mine = slice_granted(driver.wait(0))
    assert driver.pool.slices[whole].paused_by == SCHEDULER
    assert "goes on by itself" in str(driver.resume(whole, tenant="borrower")[0].error)
    driver.release(mine, tenant="lender")
    driver.beat()
    effects = driver.wait(1_000)
    assert not driver.pool.slices[whole].paused_by
    assert [effect.slice.is_paused for effect in effects if isinstance(effect, e.AssignSlice)] == [False]


def test_nobody_is_taken_from_within_a_guarantee_or_before_the_minimum_time(
    pool_of_two, slice_granted: Granted, refused: Refused
) -> None:
    driver = pool_of_two
    slice_granted(driver.request(50, 1024, tenant="borrower"))
    slice_granted(driver.request(50, 1024, tenant="stranger"))
    assert "0 % and 6144 MiB free" in str(refused(driver.request(50, 1024, tenant="lender")))
    let_run(driver, 11_000)
    driver.request(50, 1024, tenant="lender")
    driver.wait(0)
    assert [s.tenant for s in driver.pool.slices.values() if s.paused_by] == ["stranger"]
    assert "has 0 %" in str(refused(driver.request(10, 1024, tenant="stranger")))


def test_memory_is_taken_back_by_eviction_with_notice(pool_of_two, slice_granted: Granted) -> None:
    driver = pool_of_two
    slice_id = slice_granted(driver.request(10, 6000, tenant="borrower"))
    let_run(driver, 11_000)
    assert driver.request(10, 4096, tenant="lender", request_id="mine", wait_ms=60_000) == []
    (told,) = [effect for effect in driver.wait(0) if isinstance(effect, e.AssignSlice)]
    assert (told.slice.slice_id, told.slice.notice, told.slice.notice_ms) == (slice_id, "lender asked for it", 5_000)
    assert let_run(driver, 4_000) == []
    effects = let_run(driver, 2_000)
    gone = driver.pool.slices[slice_id]
    assert (gone.state, gone.reason) == (SliceState.EVICTED, "lender asked for it")
    assert driver.pool.slices[slice_granted(effects)].tenant == "lender"


def test_a_notice_is_taken_back_when_nobody_needs_the_room(pool_of_two, slice_granted: Granted) -> None:
    driver = pool_of_two
    slice_id = slice_granted(driver.request(10, 6000, tenant="borrower"))
    let_run(driver, 11_000)
    driver.request(10, 4096, tenant="lender", request_id="mine", wait_ms=60_000)
    driver.wait(0)
    assert driver.pool.slices[slice_id].notice
    driver.cancel("mine", tenant="lender")
    driver.wait(0)
    assert not driver.pool.slices[slice_id].notice
    let_run(driver, 10_000)
    assert driver.pool.slices[slice_id].state is SliceState.LIVE


def test_a_restarted_broker_gives_notice_anew(pool_of_two, slice_granted: Granted) -> None:
    driver = pool_of_two
    slice_id = slice_granted(driver.request(10, 6000, tenant="borrower"))
    let_run(driver, 11_000)
    driver.request(10, 4096, tenant="lender", request_id="mine", wait_ms=60_000)
    driver.wait(0)
    driver.pool = driver.replayed()
    driver.pool.rules = RULES
    driver.send(e.Restarted(**driver.stamp()))
    let_run(driver, 4_000)
    assert driver.request(10, 4096, tenant="lender", request_id="mine", wait_ms=60_000) == []
    assert driver.pool.slices[slice_id].state is SliceState.LIVE
    let_run(driver, 3_000)
    assert driver.pool.slices[slice_id].state is SliceState.EVICTED


def test_a_higher_priority_takes_from_its_own_tenant(driver, slice_granted: Granted) -> None:
    driver.join()
    low = slice_granted(driver.request(100, 1024, priority=10))
    driver.pool.rules = RULES
    let_run(driver, 11_000)
    driver.request(60, 1024)
    assert driver.pool.slices[slice_granted(driver.wait(0))].compute_pct == 60
    assert driver.pool.slices[low].paused_by == SCHEDULER


def test_projects_take_back_from_each_other(driver, slice_granted: Granted) -> None:
    driver.join()
    driver.pool.rules = RULES
    driver.quota("t/ocr", guaranteed_pct=60)
    batch = slice_granted(driver.request(100, 1024, project="batch"))
    let_run(driver, 11_000)
    driver.request(60, 1024, project="ocr")
    assert driver.pool.slices[slice_granted(driver.wait(0))].account == "t/ocr"
    assert driver.pool.slices[batch].paused_by == SCHEDULER
    assert driver.pool.quotas.holds("t").compute_pct == 60


def test_an_elastic_slice_has_what_is_idle_and_gives_it_back_at_once(driver, slice_granted: Granted) -> None:
    driver.join()
    elastic = slice_granted(driver.request(10, 1024, compute_max_pct=70))
    assert driver.pool.slices[elastic].compute_pct == 70
    other = slice_granted(driver.request(80, 1024, tenant="other"))
    assert driver.pool.slices[elastic].compute_pct == 20
    assert isinstance(driver.journal[-2], f.SliceResized)
    driver.release(other, tenant="other")
    driver.wait(0)
    assert driver.pool.slices[elastic].compute_pct == 20
    driver.beat()
    driver.wait(GROW_AFTER_MS)
    assert driver.pool.slices[elastic].compute_pct == 70


def test_elastic_slices_share_what_is_idle_and_keep_to_their_quota(driver, slice_granted: Granted) -> None:
    driver.join()
    whole = slice_granted(driver.request(80, 1024, tenant="other"))
    first = slice_granted(driver.request(10, 1024, compute_max_pct=100))
    second = slice_granted(driver.request(10, 1024, tenant="u", compute_max_pct=100))
    driver.quota("u", compute=30)
    driver.release(whole, tenant="other")
    driver.wait(0)
    driver.beat()
    driver.wait(GROW_AFTER_MS)
    sizes = driver.pool.slices[first].compute_pct, driver.pool.slices[second].compute_pct
    assert sizes == (70, 30)
    slice_granted(driver.request(10, 1024, tenant="u"))
    assert driver.pool.slices[second].compute_pct == 20


def test_the_surplus_of_an_elastic_slice_is_not_borrowed(pool_of_two, slice_granted: Granted) -> None:
    driver = pool_of_two
    elastic = slice_granted(driver.request(40, 1024, tenant="borrower", compute_max_pct=100))
    let_run(driver, 11_000)
    slice_granted(driver.request(50, 1024, tenant="lender"))
    slice_ = driver.pool.slices[elastic]
    assert (slice_.compute_pct, slice_.paused_by) == (50, "")


def test_an_elastic_slice_that_is_resized_by_hand_keeps_that_size(driver, slice_granted: Granted) -> None:
    driver.join()
    elastic = slice_granted(driver.request(10, 1024, compute_max_pct=50))
    driver.resize(elastic, compute=60)
    driver.wait(0)
    driver.beat()
    driver.wait(2_000)
    assert driver.pool.slices[elastic].compute_pct == 60
    assert elastic not in driver.pool.elastic


@pytest.mark.parametrize("changes", [{"compute": 0}, {"tflops": 5}, {"compute_max_pct": 10}, {"near": "s1", "count": 2}])
def test_a_request_that_contradicts_itself_is_refused(driver, refused: Refused, changes: dict[str, object]) -> None:
    driver.join()
    error = refused(driver.request(**{"compute": 20, **changes}))
    assert error.code == "usage"


def test_a_paused_slice_keeps_its_memory_and_frees_its_compute(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(80, 4096))
    driver.pause(slice_id)
    assert isinstance(refused(driver.pause(slice_id)), Conflict)
    assert "paused, by admin: resume it" in str(refused(driver.resize(slice_id, compute=10)))
    other = slice_granted(driver.request(100, 4096))
    driver.wait(0)
    assert isinstance(refused(driver.resume(slice_id)), SliceRefused)
    driver.release(other)
    driver.wait(0)
    assert driver.pool.slices[slice_id].paused_by == "admin"
    driver.resume(slice_id)
    assert driver.pool.slices[slice_id].taken_pct == 80
    assert isinstance(refused(driver.resume(slice_id)), Conflict)


def test_a_paused_slice_moves_with_its_node_and_ends_like_any(driver, slice_granted: Granted) -> None:
    driver.join("node-1")
    slice_id = slice_granted(driver.request(80, 4096))
    driver.pause(slice_id)
    driver.join("node-2")
    driver.send(e.AgentLeft(**driver.stamp(), node="node-1", reason="gone"))
    driver.wait(0)
    moved = driver.pool.slices[slice_id]
    assert (moved.node, moved.state, moved.taken_pct) == ("node-2", SliceState.LIVE, 0)
    driver.release(slice_id)
    assert driver.pool.quotas.held == {}
