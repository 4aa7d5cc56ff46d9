"""When operations travel, what one round trip carries, and what becomes of arrays when something goes wrong."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpupool_wire.errors import ExecutionFailed, LeaseLost, LimitExceeded, OutOfSliceMemory, UsageError, WorkerLost
from gpupool_wire.units import MIB

from .conftest import LocalSlice

Make = Callable[..., Any]


def poll(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"it did not come true within {within_s} s"
        time.sleep(0.001)


def test_a_chain_that_is_read_once_makes_one_round_trip(xp: Any, home: LocalSlice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpupool.arrays.sender.SEND_S", 60.0)  # the machine may be slow; what is read is sent at once anyway
    x = xp.asarray(np.float64(0))
    for _ in range(100):
        x = x + 1
    assert float(x) == 100
    assert home.current.questions == 1


def test_operations_nobody_reads_are_sent_all_the_same(xp: Any, home: LocalSlice) -> None:
    x = xp.zeros(3) + 1
    poll(lambda: len(home.current.store) > 0)
    assert x.shape == (3,)


def test_memory_is_given_back_when_nobody_refers_to_an_array(xp: Any, home: LocalSlice) -> None:
    x = xp.zeros(MIB // 8)
    view = x[1:]
    xp.stream.flush()
    assert home.current.account.used_bytes == MIB
    del x
    gc.collect()
    xp.stream.flush()
    assert home.current.account.used_bytes == MIB
    del view
    poll(lambda: home.current.account.used_bytes == 0)


def test_a_long_chain_holds_no_more_than_it_needs(make_xp: Make) -> None:
    xp = make_xp(memory_mib=4)
    x = xp.zeros(MIB // 8)
    for _ in range(200):
        x = x + 1
    assert float(x[0]) == 200


def test_ten_thousand_tiny_operations_in_a_row_go_in_full_batches(xp: Any, home: LocalSlice) -> None:
    x = xp.asarray(0.0)
    for _ in range(10_000):
        x = x + 1
    assert float(x) == 10_000
    assert home.current.questions < 2_000
    assert len(home.current.store) <= 3


def test_a_failure_surfaces_at_the_read_with_the_line_that_called_it(xp: Any) -> None:
    singular = xp.linalg.inv(xp.zeros((2, 2)))
    made_of_it = singular + 1
    with pytest.raises(ExecutionFailed, match=r"Singular matrix \(in linalg\.inv, called at .*test_stream\.py:\d+\)") as raised:
        np.asarray(made_of_it)
    assert raised.value.details["operation"] == "linalg.inv"
    assert str(raised.value.details["file"]).endswith("test_stream.py")
    with pytest.raises(ExecutionFailed, match="Singular"):  # again, from the worker's memory of it
        np.asarray(singular)


def test_out_of_memory_in_the_middle_of_a_batch_breaks_what_needed_it_and_nothing_else(make_xp: Make) -> None:
    xp = make_xp(memory_mib=4)
    small = xp.ones(10)
    large = xp.zeros((1024, 1024))
    of_large, of_small = xp.sum(large), small * 3
    with pytest.raises(OutOfSliceMemory, match=r"arrays of zeros asked for 8\.0 MiB, but .* of the slice's 4\.0 MiB") as raised:
        float(of_large)
    assert raised.value.details["operation"] == "zeros"
    assert np.asarray(of_small).tolist() == [3] * 10
    assert float(xp.sum(xp.zeros(1024))) == 0


def test_a_fetched_array_over_the_limit_is_refused_before_it_travels(xp: Any, home: LocalSlice) -> None:
    huge = xp.broadcast_to(xp.ones((), dtype=xp.uint8), (2**33,))
    with pytest.raises(LimitExceeded, match="fetch a slice of it"):
        np.asarray(huge)
    assert home.current.fetched == 0
    assert np.asarray(huge[:3]).tolist() == [1, 1, 1]


def test_arrays_of_two_slices_are_not_combined(xp: Any, make_xp: Make) -> None:
    other = make_xp(slice_id="slice-2")
    with pytest.raises(UsageError, match=r"slice-2 .*slice-1"):
        xp.ones(2) + other.ones(2)
    with pytest.raises(UsageError, match="slice-2"):
        xp.asarray(other.ones(2))
    assert np.asarray(xp.ones(2) + np.asarray(other.ones(2))).tolist() == [2, 2]


def test_operations_that_kill_every_worker_are_given_up_and_nothing_else(
    xp: Any, home: LocalSlice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpupool.arrays.sender.SEND_S", 60.0)
    x = xp.asarray([1.0, 2.0])
    assert float(x[0]) == 1
    calls = []
    real = type(home.current).call

    def deadly(link: Any, question: Any, frames: Any = ()) -> Any:
        if any(call.name == "exp" for call in question.operations):
            calls.append(1)
            link.is_dead = True
        return real(link, question, frames)

    monkeypatch.setattr(type(home.current), "call", deadly)
    y = xp.exp(x)
    with pytest.raises(WorkerLost, match="the worker was lost 5 times during these operations"):
        float(y[0])
    assert len(calls) == 5
    assert float(x[1]) == 2
    with pytest.raises(WorkerLost, match="lost 5 times"):
        float(y[1])


def test_an_array_used_after_its_slice_ended_says_that(xp: Any, home: LocalSlice) -> None:
    x = xp.ones(2)
    xp.stream.flush()
    home.ended = "slice slice-1 was released by this program"
    home.current.is_dead = True
    for _ in range(2):
        with pytest.raises((LeaseLost, WorkerLost)):
            float(x[0])
    with pytest.raises(LeaseLost, match="was released"):
        float(x[0])
    with pytest.raises(LeaseLost, match="was released"):
        x[0] + 1  # from now on at the call
    assert repr(x).endswith(", gone>")


def test_a_forked_childs_arrays_are_its_own(xp: Any) -> None:
    x = xp.ones(2)
    xp.stream.flush()
    xp.stream.renew_in_child()  # what every stream does in a forked child
    with pytest.raises(UsageError, match="belongs to the parent process"):
        float(x[0])
    assert float(xp.ones(2)[0]) == 1


def test_many_threads_call_at_the_same_time(xp: Any) -> None:
    shared = xp.asarray(np.arange(8.0))
    wrong: list[Any] = []

    def work(number: int) -> None:
        x = shared
        for _ in range(200):
            x = x + number
        if not np.array_equal(np.asarray(x), np.arange(8.0) + 200 * number):
            wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_batch_that_is_refused_as_a_whole_names_its_first_operation(
    xp: Any, home: LocalSlice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(question: Any, frames: Any = ()) -> Any:
        raise UsageError("a null device has no arrays")

    monkeypatch.setattr(home.current, "call", refuse)
    x = xp.ones(3)
    with pytest.raises(UsageError, match="no arrays") as raised:
        float(x[0])
    assert (
        raised.value.__notes__
        == ["none of 2 queued operations was done; the first was " + raised.value.__notes__[0].split("was ")[-1]]
        or raised.value.__notes__
    )


def test_a_shape_that_depends_on_values_is_asked_for_once(xp: Any, home: LocalSlice) -> None:
    (found,) = xp.nonzero(xp.asarray([0, 3, 0, 4]))
    assert repr(found).startswith("<RemoteArray int64[?]")
    assert found.shape == (2,)
    questions = home.current.questions
    assert (found.size, found.ndim) == (2, 1)
    assert home.current.questions == questions
    with pytest.raises(ExecutionFailed):
        len(xp.nonzero(xp.linalg.inv(xp.zeros((2, 2))))[0])


def test_a_stream_that_nobody_uses_any_more_ends_its_thread(make_xp: Make) -> None:
    xp = make_xp()
    xp.ones(3)
    xp.stream.flush()
    thread = xp.stream._sender._thread
    assert thread is not None
    del xp
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
