"""The pool, one event at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpupool_broker.core import events as e
from gpupool_broker.core.state import SliceState
from gpupool_wire.errors import Conflict, LeaseLost, NotFound, PoolUnreachable, SliceRefused
from gpupool_wire.messages import DeviceInfo, LinkLost, SliceUse

Granted = Callable[[list[e.Effect]], str]
Refused = Callable[[list[e.Effect]], Exception]


def kinds(effects: list[e.Effect]) -> list[type[e.Effect]]:
    return [type(effect) for effect in effects]


def test_a_request_is_granted_and_its_agent_told_before_the_client(driver, slice_granted: Granted) -> None:
    driver.join()
    effects = driver.request(30, 2048)
    assert kinds(effects) == [e.AssignSlice, e.AnswerSlice]
    slice_ = driver.pool.slices[slice_granted(effects)]
    assert (slice_.compute_pct, slice_.memory_mib, slice_.epoch, slice_.node) == (30, 2048, 1, "node-1")


def test_an_empty_pool_refuses_and_says_so(driver, refused: Refused) -> None:
    assert "the pool has no device that is up" in str(refused(driver.request()))


def test_a_refusal_names_the_numbers_compared(driver, refused: Refused) -> None:
    driver.join(memory_mib=8192)
    driver.request(70, 6000)
    error = refused(driver.request(60, 4096))
    assert "asked 60 % compute and 4096 MiB; the roomiest device, cpu0 on node-1, has 30 % and 2192 MiB free" in str(error)
    assert isinstance(error, SliceRefused)
    assert (error.details["compute_free_pct"], error.details["memory_free_mib"]) == (30, 2192)


def test_a_slice_larger_than_any_device_is_refused_even_with_patience(driver, refused: Refused) -> None:
    driver.join(memory_mib=8192)
    assert "cpu0 on node-1, offers 8192 MiB when empty" in str(refused(driver.request(10, 9000, wait_ms=60_000)))


def test_the_workers_own_cost_is_booked_beside_the_slice(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join(memory_mib=1000, overhead_mib=300)
    slice_granted(driver.request(10, 600))
    assert "has 90 % and 0 MiB free" in str(refused(driver.request(10, 1)))


def test_a_null_device_is_given_only_to_who_asks_for_it(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join(kind="null")
    assert "no device that is up" in str(refused(driver.request()))
    assert slice_granted(driver.request(kind="null"))


def test_a_pools_policy_decides_where_slices_go(make_driver, slice_granted: Granted) -> None:
    for policy, is_together in (("best-fit", True), ("pack", True), ("spread", False)):
        driver = make_driver(policy)
        driver.join(devices=2)
        one, other = (driver.pool.slices[slice_granted(driver.request(40))] for _ in range(2))
        assert (one.device == other.device) is is_together, policy


def test_what_does_not_fit_beside_the_others_goes_elsewhere(make_driver, slice_granted: Granted) -> None:
    driver = make_driver("best-fit")
    driver.join(devices=2)
    first = driver.pool.slices[slice_granted(driver.request(40))]
    second = driver.pool.slices[slice_granted(driver.request(40))]
    third = driver.pool.slices[slice_granted(driver.request(40))]
    assert (first.device == second.device, third.device != first.device) == (True, True)


def test_a_repeated_request_gets_the_recorded_answer(driver, slice_granted: Granted) -> None:
    driver.join()
    first = slice_granted(driver.request(request_id="same"))
    assert slice_granted(driver.request(request_id="same")) == first
    assert len(driver.pool.slices) == 1


def test_released_resources_return_once(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(100, 8192))
    effects = driver.release(slice_id, request_id="bye")
    assert kinds(effects) == [e.RevokeSlice, e.AnswerSlice]
    assert kinds(driver.release(slice_id, request_id="bye")) == [e.AnswerSlice]
    assert slice_granted(driver.request(100, 8192)) != slice_id


def test_a_second_release_with_another_id_says_the_lease_is_gone(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    driver.release(slice_id)
    assert isinstance(refused(driver.release(slice_id)), LeaseLost)


def test_another_tenants_slice_is_not_found(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(tenant="a"))
    assert isinstance(refused(driver.release(slice_id, tenant="b")), NotFound)
    assert isinstance(refused(driver.resize(slice_id, 50, tenant="b")), NotFound)
    assert kinds(driver.release(slice_id, tenant=None)) == [e.RevokeSlice, e.AnswerSlice]


def test_a_resize_raises_the_epoch_and_tells_the_agent(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(25, 1024))
    effects = driver.resize(slice_id, compute=100)
    assert kinds(effects) == [e.AssignSlice, e.AnswerSlice]
    slice_ = driver.pool.slices[slice_id]
    assert (slice_.compute_pct, slice_.memory_mib, slice_.epoch) == (100, 1024, 2)


def test_a_resize_beyond_the_device_names_what_is_beside(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join(memory_mib=4096)
    slice_id = slice_granted(driver.request(50, 1024))
    driver.request(30, 2048)
    assert "has 20 % and 1024 MiB beside it" in str(refused(driver.resize(slice_id, compute=71)))


def test_less_memory_is_the_agents_to_allow(driver, slice_granted: Granted) -> None:
    driver.join(memory_mib=4096)
    slice_id = slice_granted(driver.request(50, 4096))
    (asked,) = driver.resize(slice_id, compute=20, memory=1024, deadline_ms=3_000)
    assert isinstance(asked, e.ShrinkSlice)
    assert (asked.node, asked.memory_mib, asked.deadline_ms) == ("node-1", 1024, 3_000)
    assert driver.pool.slices[slice_id].memory_mib == 4096  # nobody may count on the rest yet
    assert kinds(driver.answer_shrink(asked)) == [e.AssignSlice, e.AnswerSlice]
    slice_ = driver.pool.slices[slice_id]
    assert (slice_.compute_pct, slice_.memory_mib, slice_.epoch) == (20, 1024, 2)
    assert driver.answer_shrink(asked) == []  # said twice
    slice_granted(driver.request(50, 3072))


def test_a_shrink_the_agent_refuses_changes_nothing(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(50, 4096))
    (asked,) = driver.resize(slice_id, memory=1024)
    error = refused(driver.answer_shrink(asked, Conflict("the slice uses 2000.0 MiB", used_bytes=1)))
    assert "2000.0 MiB" in str(error)
    assert driver.pool.slices[slice_id].epoch == 1
    assert kinds(driver.resize(slice_id, memory=1024)) == [e.ShrinkSlice]


def test_a_second_shrink_waits_for_the_first_and_a_repeat_takes_its_place(
    driver, slice_granted: Granted, refused: Refused
) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(50, 4096))
    driver.resize(slice_id, memory=1024, request_id="one")
    assert isinstance(refused(driver.resize(slice_id, memory=512, request_id="two")), Conflict)
    (asked,) = driver.resize(slice_id, memory=1024, request_id="one")
    assert kinds(driver.answer_shrink(asked)) == [e.AssignSlice, e.AnswerSlice]
    assert kinds(driver.resize(slice_id, memory=1024, request_id="one")) == [e.AnswerSlice]


def test_a_shrink_nobody_answers_is_given_up(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(50, 4096))
    driver.resize(slice_id, memory=1024, deadline_ms=1_000)
    for _ in range(4):
        driver.beat()
        assert driver.wait(1_400) == []
    driver.beat()
    assert isinstance(refused(driver.wait(1_400)), PoolUnreachable)
    (asked,) = driver.resize(slice_id, memory=1024)
    assert isinstance(refused(driver.wait(2_600)), Conflict)  # the node was lost, the slice with it
    assert driver.answer_shrink(asked) == []


def test_an_agreed_shrink_that_no_longer_fits_is_taken_back_at_the_agent(
    driver, slice_granted: Granted, refused: Refused
) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(50, 4096))
    (asked,) = driver.resize(slice_id, compute=100, memory=1024)
    slice_granted(driver.request(50, 1024))
    effects = driver.answer_shrink(asked)
    assert "0 % and" in str(refused(effects))
    (restated,) = [effect for effect in effects if isinstance(effect, e.AssignSlice)]
    assert (restated.slice.epoch, restated.slice.memory_mib) == (1, 4096)


def test_a_cordoned_node_takes_nothing_new_and_keeps_what_it_has(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    assert kinds(driver.cordon()) == [e.AnswerNode]
    assert "no device that is up" in str(refused(driver.request()))
    driver.join()  # its agent restarts; what the admin said still holds
    assert isinstance(refused(driver.request()), SliceRefused)
    assert driver.pool.slices[slice_id].state is SliceState.LIVE
    driver.uncordon()
    slice_granted(driver.request())


def test_a_drained_nodes_slices_move_and_the_rest_ends_at_the_deadline(driver, slice_granted: Granted) -> None:
    driver.join("node-1", memory_mib=4096)
    one, other = (slice_granted(driver.request(40, 2048)) for _ in range(2))
    driver.join("node-2", memory_mib=2048)
    driver.cordon("node-1", drain_ms=3_000)
    effects = driver.wait(0)
    assert kinds(effects) == [e.AssignSlice, e.RevokeSlice]
    moved, stayed = (one, other) if driver.pool.slices[one].node == "node-2" else (other, one)
    assert driver.pool.slices[moved].epoch == 3
    for _ in range(2):
        driver.wait(1_400)
        driver.beat("node-1")
        driver.beat("node-2")
    assert driver.pool.slices[stayed].state is SliceState.LIVE
    assert kinds(driver.wait(300)) == [e.RevokeSlice]
    assert driver.pool.slices[stayed].state is SliceState.EXPIRED
    assert "node-1 is drained, and nowhere else was room" in driver.pool.slices[stayed].reason
    assert isinstance(driver.cordon("nowhere")[0], e.AnswerError)


def test_a_silent_node_is_lost_and_its_slices_move(driver, slice_granted: Granted) -> None:
    driver.join("node-1")
    slice_id = slice_granted(driver.request())
    driver.join("node-2")
    driver.wait(2_000)
    driver.beat("node-2")
    effects = driver.wait(600)
    assert [effect.node for effect in effects if isinstance(effect, e.AssignSlice)] == ["node-2"]
    slice_ = driver.pool.slices[slice_id]
    assert (slice_.state, slice_.node, slice_.epoch) == (SliceState.LIVE, "node-2", 3)


def test_a_slice_without_another_place_is_stranded_and_comes_back_with_its_node(
    driver, slice_granted: Granted, refused: Refused
) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    driver.wait(2_600)
    assert driver.pool.slices[slice_id].state is SliceState.STRANDED
    assert isinstance(refused(driver.resize(slice_id, 50)), Conflict)
    driver.join()
    assert [type(effect) for effect in driver.wait(0)] == [e.AssignSlice]
    assert driver.pool.slices[slice_id].state is SliceState.LIVE


def test_a_stranded_slice_expires_after_a_lease(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    driver.wait(2_600)
    driver.wait(60_001)
    assert driver.pool.slices[slice_id].state is SliceState.EXPIRED


def test_a_node_that_greets_again_in_time_keeps_its_slices(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    (welcome,) = driver.join()
    assert isinstance(welcome, e.WelcomeAgent)
    assert [kept.slice_id for kept in welcome.slices] == [slice_id]


def test_a_device_that_came_back_different_strands_its_slices(driver, slice_granted: Granted) -> None:
    driver.join(memory_mib=8192)
    slice_id = slice_granted(driver.request(10, 8192))
    (welcome,) = driver.join(memory_mib=4096)
    assert isinstance(welcome, e.WelcomeAgent)
    assert welcome.slices == ()
    assert driver.pool.slices[slice_id].state is SliceState.STRANDED
    assert driver.pool.nodes["node-1"].devices["cpu0"].memory_free_mib == 4096


def test_a_beat_from_an_unknown_node_asks_it_to_greet(driver) -> None:
    assert kinds(driver.beat("stranger")) == [e.GreetAnew]


def test_a_lost_holder_frees_the_slice_but_only_at_its_newest_epoch(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    driver.resize(slice_id, 30)
    driver.beat(lost=(LinkLost(slice_id=slice_id, epoch=1, reason="gone"),))
    assert driver.pool.slices[slice_id].state is SliceState.LIVE
    driver.beat(lost=(LinkLost(slice_id=slice_id, epoch=2, reason="gone"),))
    assert driver.pool.slices[slice_id].state is SliceState.LOST


def test_use_is_rolled_up_and_what_is_left_is_written_at_the_end(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    use = SliceUse(slice_id=slice_id, epoch=1, device_ns=5, throttled_ns=1, calls=2, memory_bytes=9)
    before = len(driver.journal)
    driver.beat(use=(use,))
    driver.beat(use=(use,))
    assert len(driver.journal) == before
    assert driver.pool.used(driver.pool.slices[slice_id]) == (10, 2, 4)
    driver.release(slice_id)
    assert driver.replayed().slices[slice_id].device_ns == 10


def test_what_a_slice_did_lately_is_shown_while_it_is_live_and_never_journalled(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    row = SliceUse(slice_id=slice_id, epoch=1, device_ns=0, throttled_ns=0, calls=0, memory_bytes=9, achieved_millipct=12_345)
    before = len(driver.journal)
    driver.beat(use=(row,))
    (device,) = driver.pool.nodes["node-1"].devices.values()
    assert driver.pool.lately[slice_id].memory_bytes == 9
    assert driver.pool.busy_millipct(device) == 12_345
    assert len(driver.journal) == before
    driver.release(slice_id)
    driver.beat(use=(row,))
    assert driver.pool.lately == {}
    assert driver.pool.busy_millipct(device) == 0


def test_an_agent_hears_what_a_slice_has_used_before_it_came(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    used = SliceUse(slice_id=slice_id, epoch=1, device_ns=70, throttled_ns=3, calls=2, memory_bytes=0)
    driver.beat(use=(used,))
    (welcome,) = [effect for effect in driver.join() if isinstance(effect, e.WelcomeAgent)]
    (kept,) = welcome.slices
    assert (kept.device_ns, kept.throttled_ns, kept.calls) == (70, 3, 2)


def test_what_a_slice_used_last_is_journalled_though_it_has_ended(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    driver.release(slice_id)
    driver.beat(use=(SliceUse(slice_id=slice_id, epoch=1, device_ns=70, throttled_ns=3, calls=2, memory_bytes=0),))
    assert driver.pool.slices[slice_id].device_ns == 70
    assert driver.replayed().slices[slice_id].calls == 2


def test_jumps_of_the_wall_clock_time_nothing(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request())
    for jump_ms in (-(10**12), 10**12, 0):
        stamp = {"now_ms": driver.now_ms, "at_ms": 1_700_000_000_000 + jump_ms}
        driver.send(e.AgentBeat(**stamp, caller="agent", node="node-1", seq=1))
        driver.send(e.Ticked(**stamp))
        assert driver.pool.slices[slice_id].state is SliceState.LIVE
        assert driver.pool.nodes["node-1"].is_up
    driver.release(slice_id)


def test_a_patient_request_is_granted_when_room_appears(driver, slice_granted: Granted) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(100))
    assert driver.request(50, wait_ms=5_000) == []
    driver.beat()
    assert driver.wait(100) == []
    driver.release(slice_id)
    assert kinds(driver.wait(0)) == [e.AssignSlice, e.AnswerSlice]


def test_patience_ends_with_a_refusal_that_says_why(driver, refused: Refused) -> None:
    driver.join()
    driver.request(100)
    driver.request(50, wait_ms=1_000)
    assert "waited 1 s: asked 50 %" in str(refused(driver.wait(1_000)))


def test_nobody_is_called_silent_for_the_brokers_own_absence(driver) -> None:
    driver.join()
    driver.now_ms += 60_000
    driver.send(e.Restarted(**driver.stamp()))
    driver.wait(2_000)
    assert driver.pool.nodes["node-1"].is_up


@pytest.mark.parametrize("info", [DeviceInfo(device="cpu0", kind="cpu", model="m", memory_mib=1)])
def test_the_repr_is_a_status_line(driver, info: DeviceInfo) -> None:
    driver.join()
    driver.request()
    assert repr(driver.pool) == "<Pool, 1 nodes up, 1 slices live, 0 waiting>"
