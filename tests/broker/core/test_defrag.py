"""Idle slices are moved together, where that makes room that is asked for."""

from __future__ import annotations

from collections.abc import Callable

from gpupool_broker.core import events as e
from gpupool_broker.core.defrag import plan_defrag
from gpupool_wire.messages import SliceUse

Granted = Callable[[list[e.Effect]], str]


def scattered(driver, slice_granted: Granted, idle: bool = True) -> list[str]:
    """Two devices with one slice of 30 % each, of a workload that asks for 30 % and for whole devices."""
    driver.join(devices=2)
    first = slice_granted(driver.request(30, 1024))
    blocker = slice_granted(driver.request(70, 1024))
    second = slice_granted(driver.request(30, 1024))
    driver.release(blocker)
    for _ in range(5):
        driver.request(100, 1024)  # nowhere: this is what is asked for, and what placement learns from
    assert {driver.pool.slices[i].device for i in (first, second)} == {"cpu0", "cpu1"}
    use = tuple(
        SliceUse(
            slice_id=i, epoch=1, device_ns=0, throttled_ns=0, calls=0, memory_bytes=0, achieved_millipct=0 if idle else 5_000
        )
        for i in (first, second)
    )
    driver.beat(use=use)
    return [first, second]


def test_a_dry_run_shows_the_gain_and_moves_nothing(driver, slice_granted: Granted) -> None:
    scattered(driver, slice_granted)
    plan = plan_defrag(driver.pool)
    assert [(move.compute_pct, move.from_device == move.plan.device) for move in plan.moves] == [(30, False)]
    assert (plan.empty_before, plan.empty_after) == (0, 1)
    assert plan.stranded_after_pct < plan.stranded_before_pct
    assert len({s.device for s in driver.pool.slices.values() if not s.state.is_over}) == 2


def test_a_whole_device_is_free_afterwards(driver, slice_granted: Granted) -> None:
    scattered(driver, slice_granted)
    (answer,) = driver.send(e.DefragRequested(**driver.stamp(), caller="c", by="admin", at_most_pct=5))
    assert isinstance(answer, e.AnswerDone)
    effects = driver.wait(0)
    assert [type(effect) for effect in effects] == [e.AssignSlice, e.RevokeSlice]
    assert driver.pool.slices[slice_granted(driver.request(100, 1024))].compute_pct == 100


def test_what_is_busy_stays(driver, slice_granted: Granted) -> None:
    scattered(driver, slice_granted, idle=False)
    assert plan_defrag(driver.pool).moves == ()


def test_a_planned_move_whose_slice_has_changed_is_left_out(driver, slice_granted: Granted) -> None:
    ids = scattered(driver, slice_granted)
    driver.send(e.DefragRequested(**driver.stamp(), caller="c", by="admin", at_most_pct=5))
    for slice_id in ids:
        driver.release(slice_id)
    assert driver.wait(0) == []


def test_an_empty_pool_has_nothing_to_move(driver) -> None:
    plan = plan_defrag(driver.pool)
    assert (plan.moves, plan.stranded_before_pct, plan.empty_before) == ((), 0.0, 0)
