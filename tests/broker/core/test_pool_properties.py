"""Random lives of a pool: the invariants hold after every event, and the journal alone gives the same pool at every point."""

from __future__ import annotations

import dataclasses
from operator import attrgetter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpupool_broker.core import events as e
from gpupool_broker.core.invariants import check
from gpupool_broker.core.placement import Ask, Placer
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.scheduling import Rules
from gpupool_broker.core.snapshot import KEPT, freeze, thaw
from gpupool_wire.errors import Conflict
from gpupool_wire.messages import LinkLost, SliceUse


def contents(pool: Pool) -> dict[str, object]:
    """Everything that a snapshot keeps, dicts with the order of their keys."""
    kept = {path: attrgetter(path)(pool) for path in KEPT}
    return {path: list(value.items()) if isinstance(value, dict) else value for path, value in kept.items()}


NODES = ("node-1", "node-2", "node-3")
STEPS = st.one_of(
    st.tuples(st.just("join"), st.sampled_from(NODES), st.sampled_from([2048, 8192])),
    st.tuples(st.just("request"), st.integers(1, 100), st.integers(1, 9000), st.sampled_from([0, 3_000])),
    st.tuples(st.just("release"), st.integers(0, 30)),
    st.tuples(st.just("resize"), st.integers(0, 30), st.integers(1, 100), st.integers(1, 9000)),
    st.tuples(st.just("agree"), st.booleans()),
    st.tuples(st.just("cordon"), st.sampled_from(NODES), st.sampled_from([None, 0, 3_000])),
    st.tuples(st.just("uncordon"), st.sampled_from(NODES)),
    st.tuples(st.just("quota"), st.sampled_from([None, 0, 50, 150]), st.sampled_from([None, 0, 2])),
    st.tuples(st.just("beat"), st.sampled_from(NODES), st.integers(0, 30), st.booleans()),
    st.tuples(st.just("elastic"), st.integers(1, 60), st.integers(1, 100), st.integers(1, 4000)),
    st.tuples(st.just("gang"), st.integers(1, 60), st.integers(2, 4), st.sampled_from([0, 3_000])),
    st.tuples(st.just("other"), st.integers(1, 100), st.integers(1, 4000), st.sampled_from([20, 50]), st.sampled_from(["", "p"])),
    st.tuples(st.just("guarantee"), st.sampled_from(["t", "u", "u/p"]), st.sampled_from([None, 0, 40, 100])),
    st.tuples(st.just("pause"), st.integers(0, 30)),
    st.tuples(st.just("resume"), st.integers(0, 30)),
    st.tuples(
        st.just("reserve"), st.sampled_from(["t", "u"]), st.integers(1, 2), st.integers(1, 100), st.sampled_from([0, 5_000])
    ),
    st.tuples(st.just("unreserve"), st.integers(0, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.sampled_from([100, 1_000, 2_600, 61_000])),
)


def view(pool: Pool) -> object:
    """What a report or page could tell two pools apart by."""
    slices = {key: dataclasses.asdict(slice_) for key, slice_ in pool.slices.items()}
    indexes = pool.elastic, pool.paused, pool.noticed, pool.labelled, pool.reserved, pool.gangs, pool.priorities
    nodes = {
        key: (
            n.is_up,
            n.is_cordoned,
            n.drain_ms,
            {d: (v.compute_free_pct, v.memory_free_mib, frozenset(v.slices)) for d, v in n.devices.items()},
        )
        for key, n in pool.nodes.items()
    }
    return slices, nodes, pool.quotas.limits, pool.quotas.held, pool.reservations, indexes


@given(st.lists(STEPS, max_size=40))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_life_keeps_the_invariants_and_replays(make_driver, steps: list[tuple]) -> None:
    driver = make_driver(rules=Rules(min_runtime_ms=1_000, notice_ms=1_500))
    asked = answered = 0
    shrinks: list[e.ShrinkSlice] = []

    def answers(effects: list[e.Effect]) -> int:
        shrinks.extend(effect for effect in effects if isinstance(effect, e.ShrinkSlice))
        return sum(isinstance(effect, e.AnswerSlice | e.AnswerGang | e.AnswerError) for effect in effects)

    for step in steps:
        ids = sorted(driver.pool.slices)
        match step:
            case ("join", node, memory):
                driver.join(node, devices=2, memory_mib=memory)
            case ("request", compute, memory, wait_ms):
                asked += 1
                answered += answers(driver.request(compute, memory, wait_ms=wait_ms))
            case ("release", index) if ids:
                driver.release(ids[index % len(ids)])
            case ("resize", index, compute, memory) if ids:
                asked += 1
                answered += answers(driver.resize(ids[index % len(ids)], compute, memory))
            case ("cordon", node, drain_ms):
                driver.cordon(node, drain_ms)
            case ("uncordon", node):
                driver.uncordon(node)
            case ("quota", compute, slices):
                driver.quota("t", compute, None, slices)
            case ("elastic", least, most, memory):
                asked += 1
                answered += answers(driver.request(least, memory, compute_max_pct=most))
            case ("gang", compute, count, wait_ms):
                asked += 1
                answered += answers(driver.request(compute, 500, count=count, wait_ms=wait_ms))
            case ("other", compute, memory, priority, project):
                asked += 1
                answered += answers(
                    driver.request(compute, memory, tenant="u", priority=priority, project=project, wait_ms=3_000, label="x")
                )
            case ("guarantee", account, pct):
                driver.quota(account, guaranteed_pct=pct)
            case ("pause", index) if ids:
                driver.pause(ids[index % len(ids)], None)
            case ("resume", index) if ids:
                driver.resume(ids[index % len(ids)], None)
            case ("reserve", tenant, count, compute, after_ms):
                driver.reserve(tenant, count, compute, 500, after_ms=after_ms, for_ms=10_000)
            case ("unreserve", index) if driver.pool.reservations:
                reservations = sorted(driver.pool.reservations)
                driver.unreserve(reservations[index % len(reservations)])
            case ("cancel", index) if len(driver.pool.waiting):
                requests = sorted(waiting.request_id for waiting in driver.pool.waiting)
                effects = driver.cancel(requests[index % len(requests)], None)
                answered += answers(effects)
            case ("agree", agrees) if shrinks:
                answered += answers(driver.answer_shrink(shrinks.pop(), None if agrees else Conflict("it is in use")))
            case ("beat", node, index, lost) if ids:
                slice_ = driver.pool.slices[ids[index % len(ids)]]
                use = SliceUse(slice_id=slice_.slice_id, epoch=slice_.epoch, device_ns=7, throttled_ns=3, calls=1, memory_bytes=0)
                gone = (LinkLost(slice_id=slice_.slice_id, epoch=slice_.epoch, reason="gone"),) if lost else ()
                driver.beat(node, use=(use,), lost=gone)
            case ("wait", ms):
                answered += answers(driver.wait(ms))
        check(driver.pool)
        afresh = Placer(workload=driver.pool.placer.workload)
        for node in driver.pool.nodes.values():
            if node.takes_slices:
                afresh.add(node)
        for ask in (Ask(compute_pct=30, memory_mib=1_000), Ask(compute_pct=100, memory_mib=1)):
            assert driver.pool.placer.place(ask) == afresh.place(ask)
        unrolled = {key: driver.pool.slices[key] for key in driver.pool.slices}
        assert view(driver.replayed()) == view(driver.pool), unrolled
        thawed = Pool(lambda: "never asked")
        thaw(freeze(driver.pool), thawed)
        assert view(thawed) == view(driver.pool)
        assert contents(thawed) == contents(driver.pool)
    assert asked == answered + len(driver.pool.waiting) + len(driver.pool.shrinks)


def test_the_check_itself_sees_a_broken_pool(driver, make_driver) -> None:
    broken = make_driver()
    broken.join()
    broken.request(25)
    broken.pool.nodes["node-1"].devices["cpu0"].compute_free_pct += 1
    with pytest.raises(AssertionError, match="counts 76 % free of 75"):
        check(broken.pool)
