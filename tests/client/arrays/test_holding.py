"""Arrays that survive their worker: made again under the same ids, to the last bit, or told what they lack."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpupool.arrays import Namespace
from gpupool.arrays.functions import StepFunction
from gpupool.arrays.holding import KEPT_MIB, kept_bytes
from gpupool_wire.errors import ExecutionFailed, LeaseLost, OutOfSliceMemory, UsageError, WorkerLost
from gpupool_wire.units import MIB

from .conftest import LocalSlice

X = np.arange(6.0).reshape(2, 3)


def bounded(home: LocalSlice, limit_bytes: int) -> Any:
    """A namespace of which so many bytes are kept."""
    xp = Namespace(home)
    xp.stream.holding._history.limit_bytes = limit_bytes
    return xp


def kept(xp: Any) -> Any:
    return xp.stream.holding._history


def lose(home: LocalSlice) -> None:
    home.current.is_dead = True


@pytest.fixture(autouse=True)
def nothing_is_sent_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpupool.arrays.sender.SEND_S", 60.0)


def test_what_was_uploaded_and_computed_is_there_on_the_next_worker(xp: Any, home: LocalSlice) -> None:
    x = xp.asarray(X)
    y = xp.exp(x) @ xp.asarray(X.T)
    xp.stream.flush()
    first = home.current
    lose(home)
    assert np.array_equal(np.asarray(y), np.exp(X) @ X.T)
    assert np.array_equal(np.asarray(x), X)
    assert home.current is not first
    assert repr(x) == "<RemoteArray float64[2, 3] on slice-1 (cpu0)>"


def test_what_a_program_changes_after_an_upload_does_not_show(xp: Any, home: LocalSlice) -> None:
    large = np.arange(100_000.0)
    x = xp.asarray(large)
    large[:] = 0
    lose(home)
    assert np.array_equal(np.asarray(x), np.arange(100_000.0))


def test_writing_in_place_is_done_again_in_order(xp: Any, home: LocalSlice) -> None:
    x = xp.asarray(X)
    before = x + 0
    x[0] = 7
    after = x * 2
    x[1, 1] = -1
    x += 1
    xp.stream.flush()
    expected = X.copy()
    expected[0] = 7
    lose(home)
    assert np.array_equal(np.asarray(before), X)
    assert np.array_equal(np.asarray(after), expected * 2)
    expected[1, 1] = -1
    assert np.array_equal(np.asarray(x), expected + 1)


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_a_worker_lost_in_mid_chain_changes_no_value(xp: Any, home: LocalSlice, answered: int) -> None:
    home.current.dies_in = answered
    x = xp.asarray(X)
    xp.stream.flush()
    y = x
    for _ in range(50):
        y = y * 1.5 + 1
    xp.stream.flush()
    expected = X
    for _ in range(50):
        expected = expected * 1.5 + 1
    assert np.array_equal(np.asarray(y), expected)


def test_intermediate_arrays_are_not_left_on_the_next_worker(xp: Any, home: LocalSlice) -> None:
    x = xp.zeros(MIB // 8)
    for _ in range(100):
        x = x + 1
    xp.stream.flush()
    lose(home)
    assert float(x[0]) == 100  # in 64 MiB, where a hundred of them would not fit
    gc.collect()
    xp.stream.flush()
    assert home.current.account.used_bytes <= 2 * MIB


def test_what_nobody_needs_any_more_is_not_kept(xp: Any) -> None:
    x = xp.asarray(np.zeros(100_000))
    y = xp.sum(x)
    xp.stream.flush()
    assert kept(xp).nbytes > 800_000
    del x
    gc.collect()
    xp.stream.flush()
    assert kept(xp).nbytes > 800_000  # y is made of it
    del y
    gc.collect()
    xp.stream.flush()
    assert (len(kept(xp)), kept(xp).nbytes) == (0, 0)


def test_recorded_steps_are_replayed_after_a_move(xp: Any, home: LocalSlice) -> None:
    weights = xp.asarray(X.T)
    step = StepFunction(xp._caller, lambda x: (x @ weights) @ xp.asarray(X))
    x = step(step(xp.asarray(X)))
    xp.stream.flush()
    expected = X
    for _ in range(2):
        expected = (expected @ X.T) @ X
    lose(home)
    assert np.array_equal(np.asarray(x), expected)
    assert np.array_equal(np.asarray(step(x)), (expected @ X.T) @ X)


def test_a_step_that_is_forgotten_is_still_there_for_what_it_made(xp: Any, home: LocalSlice) -> None:
    step = StepFunction(xp._caller, lambda x: x * 3 + 1)
    x = step(xp.asarray(X))
    xp.stream.flush()
    x = step(x)
    del step
    gc.collect()
    assert np.array_equal(np.asarray(x), (X * 3 + 1) * 3 + 1)
    xp.stream.flush()
    lose(home)
    assert np.array_equal(np.asarray(x), (X * 3 + 1) * 3 + 1)


def test_a_failure_is_the_same_failure_after_a_move(xp: Any, home: LocalSlice) -> None:
    broken = xp.linalg.inv(xp.zeros((2, 2)))
    made_of_it = broken + 1
    xp.stream.flush()
    lose(home)
    with pytest.raises(ExecutionFailed, match=r"Singular matrix \(in linalg\.inv, called at .*test_holding\.py:\d+\)"):
        np.asarray(made_of_it)


def test_beyond_the_bound_the_error_names_what_was_lost(home: LocalSlice) -> None:
    xp = bounded(home, 100_000)
    small, large = xp.asarray(X), xp.asarray(np.zeros(50_000))
    made_of_it, of_both = large + 1, small + large[0]
    assert float(made_of_it[0]) == 1  # there while the worker lives
    lose(home)
    assert np.array_equal(np.asarray(small), X)
    for array in (large, made_of_it, of_both):
        with pytest.raises(
            WorkerLost, match=r"40\d\d\d\d bytes did not fit into the 100000 .*asarray, called at .*test_holding"
        ) as it:
            np.asarray(array)
        assert it.value.details["file"] == __file__
    assert repr(large).endswith(", gone>")
    assert float(xp.sum(xp.asarray(X) + small)) == 2 * X.sum()


def test_what_is_queued_on_lost_arrays_is_lost_and_the_rest_is_done(home: LocalSlice) -> None:
    xp = bounded(home, 100_000)
    small, large = xp.asarray(X), xp.asarray(np.zeros(50_000))
    xp.stream.flush()
    lose(home)
    of_large, of_small = large + 1, small + np.ones((2, 3))
    assert np.array_equal(np.asarray(of_small), X + 1)
    with pytest.raises(WorkerLost, match="did not fit"):
        np.asarray(of_large)
    with pytest.raises(WorkerLost, match="did not fit"):
        large + 1


def test_nothing_is_kept_where_nothing_is_to_be_kept(home: LocalSlice) -> None:
    xp = bounded(home, 0)
    x = xp.asarray(X)
    xp.stream.flush()
    lose(home)
    with pytest.raises(WorkerLost, match="GPUPOOL_RESUME"):
        np.asarray(x)


def test_a_snapshot_ends_a_long_history(xp: Any, home: LocalSlice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpupool.arrays.snapshots.LOOK_NS", 1_000_000)
    x = xp.asarray(X)
    for _ in range(1_000):
        x = x * 0.999 + 1
    xp.stream.flush()
    assert len(kept(xp)) > 2_000
    xp.stream.flush_quietly()
    gc.collect()
    assert len(kept(xp)) < 10
    y = x + 1
    xp.stream.flush()
    expected = X
    for _ in range(1_000):
        expected = expected * 0.999 + 1
    lose(home)
    assert np.array_equal(np.asarray(y), expected + 1)


def test_snapshots_keep_a_program_within_its_bound(home: LocalSlice) -> None:
    """State fed with ever new uploads: without snapshots all of them would be needed."""
    xp = bounded(home, MIB)
    state, expected = xp.asarray(np.zeros(16_384)), np.zeros(16_384)
    for number in range(100):
        new = np.full(16_384, float(number))
        state, expected = state * 0.5 + xp.asarray(new), expected * 0.5 + new
        xp.stream.flush()
        xp.stream.flush_quietly()
    lose(home)
    assert np.array_equal(np.asarray(state), expected)
    assert kept(xp).nbytes <= MIB


def test_a_move_that_is_interrupted_begins_again(xp: Any, home: LocalSlice) -> None:
    x = xp.asarray(X)
    x[0] = 5
    xp.stream.flush()
    lose(home)
    home.link(None).interrupts.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        np.asarray(x)
    expected = X.copy()
    expected[0] = 5
    assert np.array_equal(np.asarray(x), expected)
    assert home.replaced == 1


def test_ctrl_c_in_mid_transfer_loses_nothing(xp: Any, home: LocalSlice) -> None:
    """What was sent may have been done or not: the arrays are made again on another link, and what was queued is done once."""
    x = xp.asarray(X)
    xp.stream.flush()
    x += 1
    y = x * 2
    home.current.interrupts.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        np.asarray(y)
    assert np.array_equal(np.asarray(y), (X + 1) * 2)
    assert np.array_equal(np.asarray(x), X + 1)
    assert home.replaced == 1


def test_a_pool_that_is_away_for_a_while_costs_time_only(xp: Any, home: LocalSlice, monkeypatch: pytest.MonkeyPatch) -> None:
    x = xp.asarray(X)
    xp.stream.flush()
    lose(home)
    y = x + 1

    def away(lost: Any = None) -> Any:
        raise WorkerLost("slice slice-1 could not be reached again within 30 s")

    with monkeypatch.context() as patch:
        patch.setattr(home, "link", away)
        with pytest.raises(WorkerLost, match="could not be reached"):
            np.asarray(y)
    assert np.array_equal(np.asarray(y), X + 1)


def test_an_ended_slice_takes_its_arrays_with_it(xp: Any, home: LocalSlice) -> None:
    x = xp.asarray(X)
    xp.stream.flush()
    home.ended = "slice slice-1 was released by this program"
    lose(home)
    for _ in range(2):
        with pytest.raises(LeaseLost, match="was released"):
            np.asarray(x)


def test_less_memory_on_the_next_worker_is_told_as_such(xp: Any, home: LocalSlice) -> None:
    x = xp.zeros((4, MIB // 8))
    xp.stream.flush()
    home.memory_mib = 1
    lose(home)
    with pytest.raises(OutOfSliceMemory, match=r"asked for 4\.0 MiB.*called at .*test_holding"):
        np.asarray(x)


def test_the_bound_is_a_setting() -> None:
    assert kept_bytes({}) == KEPT_MIB * MIB
    assert kept_bytes({"GPUPOOL_RESUME": "1GiB"}) == 1024 * MIB
    assert kept_bytes({"GPUPOOL_RESUME": "0"}) == 0
    with pytest.raises(UsageError, match="GPUPOOL_RESUME: "):
        kept_bytes({"GPUPOOL_RESUME": "much"})


Act = Callable[[Any, list[Any], list[np.ndarray[Any, Any]], int], None]


def _made(xp: Any, remote: list[Any], local: list[Any], number: int) -> None:
    a, b = number % len(local), (number // 7) % len(local)
    remote.append(remote[a] * 0.5 + remote[b])
    local.append(local[a] * 0.5 + local[b])


def _written(xp: Any, remote: list[Any], local: list[Any], number: int) -> None:
    a, b = number % len(local), (number // 7) % len(local)
    remote[a][number % 2] = remote[b][1]
    local[a] = local[a].copy()
    local[a][number % 2] = local[b][1]


def _uploaded(xp: Any, remote: list[Any], local: list[Any], number: int) -> None:
    local.append(np.full((2, 3), float(number)))
    remote.append(xp.asarray(local[-1]))


def _let_go(xp: Any, remote: list[Any], local: list[Any], number: int) -> None:
    if len(local) > 1:
        del remote[number % len(local)]
        del local[number % len(local)]


def _snapped(xp: Any, remote: list[Any], local: list[Any], number: int) -> None:
    xp.stream.flush()
    kept(xp).since_ns = 10**10
    xp.stream.flush_quietly()


def _lost(xp: Any, remote: list[Any], local: list[Any], number: int) -> None:
    xp.stream.home.current.dies_in = number % 3


def _read(xp: Any, remote: list[Any], local: list[Any], number: int) -> None:
    assert np.array_equal(np.asarray(remote[number % len(local)]), local[number % len(local)])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([_made, _made, _written, _uploaded, _let_go, _snapped, _lost, _read]), st.integers(0, 10**6)),
        max_size=40,
    )
)
def test_whatever_a_program_does_its_arrays_survive(acts: list[tuple[Act, int]]) -> None:
    home = LocalSlice()
    xp = Namespace(home)
    remote, local = [xp.asarray(X)], [X]
    for act, number in acts:
        act(xp, remote, local, number)
    lose(home)
    for array, expected in zip(remote, local, strict=True):
        assert np.array_equal(np.asarray(array), expected)
    xp.stream.flush()
    check_books(kept(xp))


def check_books(history: Any) -> None:
    """Every entry is counted once, and used by whom it says."""
    users: dict[int, int] = {}
    for entry in history.arrays.values():
        users[id(entry)] = users.get(id(entry), 0) + 1
    for entry in history.entries:
        for source in entry.sources:
            users[id(source)] = users.get(id(source), 0) + 1
    assert {id(entry): entry.users for entry in history.entries} == users
    assert history.nbytes == sum(entry.nbytes for entry in history.entries)
