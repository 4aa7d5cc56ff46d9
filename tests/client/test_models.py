from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpupool.pool import Pool
from gpupool.slices import Slice
from gpupool_wire import messages as m
from gpupool_wire.errors import ExecutionFailed, LeaseLost, OutOfSliceMemory, UsageError, WorkerLost
from gpupool_wire.limits import CHUNK_BYTES


@pytest.fixture
def slice_(pool: Pool) -> Iterator[Any]:
    with pool.slice(25, 64) as granted:
        yield granted


def test_a_model_runs_and_is_uploaded_once(slice_: Slice, fakes: Any, numbers: Any) -> None:
    first = slice_.open_model(b"weights")
    second = slice_.open_model(b"weights")
    assert np.array_equal(first.run({"x": numbers})[0], numbers * 2)
    assert np.array_equal(second.run({"x": numbers}, ["y"])[0], numbers * 2)
    assert sum(isinstance(message, m.PutModel) for message in fakes.worker.heard) == 1
    assert [info.name for info in first.inputs] == ["x"]
    assert first.meta.graph_name == "double"


@pytest.mark.parametrize("size", [5, 3_000, CHUNK_BYTES // 4 + 7])
def test_results_are_writable_and_independent(slice_: Slice, size: Any) -> None:
    model = slice_.open_model(b"weights")
    array = np.arange(size, dtype=np.float32)
    one, other = model.run({"x": array})[0], model.run({"x": array})[0]
    one[:] = -1
    assert np.array_equal(other, array * 2)
    assert one.flags.writeable
    assert one.flags.aligned


def test_several_outputs_of_one_call_are_independent(slice_: Slice) -> None:
    model = slice_.open_model(b"weights")
    a, b = model.run({"x": np.ones(3, np.float32), "z": np.ones(3, np.float32)})
    a[:] = 7
    assert b.tolist() == [2, 2, 2]


@pytest.mark.parametrize("mode", ["auto", "off", "always"])
def test_what_travels_is_coded_as_the_environment_says(
    pool: Pool, fakes: Any, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("GPUPOOL_CODING", mode)
    pixels = np.resize(np.arange(256, dtype=np.float32), (1, 3, 64, 64))
    with pool.slice(25, 64) as granted:
        model = granted.open_model(b"weights")
        for _ in range(2):
            assert np.array_equal(model.run({"x": pixels})[0], pixels * 2)
        asked = [message for message in fakes.worker.heard if isinstance(message, m.Run)]
        is_coded = mode == "always"  # the fake worker is on this host
        assert [run.feed[0][1].coding != "raw" for run in asked] == [is_coded] * 2
        assert [run.link_bytes_per_s > 0 for run in asked] == [is_coded] * 2
        assert (granted.traffic.saved_bytes > pixels.nbytes) == is_coded


@pytest.mark.parametrize(
    ("variable", "asked", "wanted"), [("", None, True), ("off", None, False), ("off", True, True), ("on", False, False)]
)
def test_calls_may_be_batched_unless_the_program_or_its_environment_says_no(
    pool: Pool, fakes: Any, monkeypatch: pytest.MonkeyPatch, variable: str, asked: bool | None, wanted: bool
) -> None:
    monkeypatch.setenv("GPUPOOL_BATCHING", variable)
    with pool.slice(25, 64) as granted:
        granted.open_model(b"weights", batching=asked).run({"x": np.ones(3, np.float32)})
    assert [run.may_batch for run in fakes.worker.heard if isinstance(run, m.Run)] == [wanted]


def test_a_tensor_that_is_sent_again_is_named_by_its_digest(pool: Pool, fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPOOL_CODING", "always")
    mask, other = (np.random.default_rng(seed).standard_normal(20_000).astype(np.float32) for seed in (1, 2))
    with pool.slice(25, 64) as granted:
        model = granted.open_model(b"weights")
        for array in (mask, other, mask, mask, other, other, mask):
            assert np.array_equal(model.run({"x": array.copy()})[0], array * 2)
    kinds = [type(run.feed[0][1]).__name__ for run in fakes.worker.heard if isinstance(run, m.Run)]
    assert kinds == ["TensorSpec"] * 3 + ["SeenSpec", "TensorSpec"] + ["SeenSpec"] * 2


def test_a_tensor_the_worker_has_not_kept_is_sent_whole_and_not_named_again(
    pool: Pool, fakes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUPOOL_CODING", "always")
    mask = np.random.default_rng(1).standard_normal(20_000).astype(np.float32)
    with pool.slice(25, 64) as granted:
        model = granted.open_model(b"weights")
        for _ in range(5):
            fakes.worker.tensors.clear()
            assert np.array_equal(model.run({"x": mask})[0], mask * 2)
    kinds = [type(run.feed[0][1]).__name__ for run in fakes.worker.heard if isinstance(run, m.Run)]
    assert kinds == ["TensorSpec"] * 2 + ["SeenSpec"] + ["TensorSpec"] * 3


def test_a_coded_call_that_no_slice_could_hold_is_refused_before_it_travels(
    pool: Pool, fakes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUPOOL_CODING", "always")
    with pool.slice(25, 64) as granted:
        model = granted.open_model(b"weights")
        with pytest.raises(OutOfSliceMemory, match=r"2050\.0 MiB"):  # the fake says that it has 2 GiB
            model.run({"x": np.zeros(2050 << 20, np.uint8)})
    assert not any(isinstance(message, m.Run) for message in fakes.worker.heard)


def test_timing_adds_up_to_the_wall(slice_: Slice, numbers: Any) -> None:
    model = slice_.open_model(b"weights")
    before = model.last_timing
    model.run({"x": numbers})
    assert before is None
    timing = model.last_timing
    assert timing is not None
    assert (timing.queue_ns, timing.throttle_ns, timing.execute_ns) == (1_000, 2_000, 3_000)
    assert timing.queue_ns + timing.throttle_ns + timing.execute_ns + timing.transfer_ns == timing.wall_ns


def test_timing_is_of_the_thread_that_called(slice_: Slice, numbers: Any) -> None:
    model = slice_.open_model(b"weights")
    thread = threading.Thread(target=model.run, args=({"x": numbers},))
    thread.start()
    thread.join(10)
    assert model.last_timing is None


def test_a_large_model_goes_up_in_parts(slice_: Slice, fakes: Any, numbers: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(np.random.default_rng(1).bytes(2 * CHUNK_BYTES + 5))
    model = slice_.open_model(path)
    parts = [message.nbytes for message in fakes.worker.heard if isinstance(message, m.PutModel)]
    assert parts == [CHUNK_BYTES, CHUNK_BYTES, 5]
    assert np.array_equal(model.run({"x": numbers})[0], numbers * 2)


def test_an_interrupted_upload_goes_on_where_it_stopped(slice_: Slice, fakes: Any) -> None:
    content = np.random.default_rng(1).bytes(CHUNK_BYTES + 5)
    source = hashlib.sha256(content).hexdigest()
    fakes.worker.store[source] = content[:CHUNK_BYTES]
    slice_.open_model(content)
    assert [message.offset for message in fakes.worker.heard if isinstance(message, m.PutModel)] == [CHUNK_BYTES]


def test_a_call_whose_worker_dies_is_repeated_on_the_next_one(slice_: Slice, fakes: Any, numbers: Any) -> None:
    model = slice_.open_model(b"weights")
    model.run({"x": numbers})

    def die(worker: Any) -> None:
        fakes.new_worker()
        worker.stopping.set()

    fakes.worker.before_run = die
    assert np.array_equal(model.run({"x": numbers})[0], numbers * 2)
    assert len(fakes.worker.store) == 1


def test_a_call_whose_agent_dies_is_repeated_where_the_slice_has_moved(slice_: Slice, fakes: Any, numbers: Any) -> None:
    model = slice_.open_model(b"weights")
    old_door = fakes.door

    def die(worker: Any) -> None:
        old_door.kill()
        fakes.new_node()
        worker.stopping.set()

    fakes.worker.before_run = die
    assert np.array_equal(model.run({"x": numbers})[0], numbers * 2)
    assert slice_.grant.epoch == 2


def test_a_call_that_kills_every_worker_is_given_up(slice_: Slice, fakes: Any, numbers: Any) -> None:
    model = slice_.open_model(b"weights")
    deaths = []

    def die(worker: Any) -> None:
        deaths.append(worker)
        fakes.new_worker().before_run = die
        worker.stopping.set()

    fakes.worker.before_run = die
    with pytest.raises(WorkerLost, match="lost 5 times during this call"):
        model.run({"x": numbers})
    assert len(deaths) == 5


def test_a_changed_model_file_is_not_passed_off_as_the_old_one(
    slice_: Slice, fakes: Any, numbers: Any, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    model = slice_.open_model(path)
    path.write_bytes(b"others!")
    assert np.array_equal(model.run({"x": numbers})[0], numbers * 2)
    old = fakes.worker
    fakes.new_worker()
    old.kill()
    with pytest.raises(Exception, match="has changed since its session was opened"):
        model.run({"x": numbers})


def test_a_failed_call_leaves_the_channel_usable(slice_: Slice, fakes: Any, numbers: Any) -> None:
    model = slice_.open_model(b"weights")

    def fail(worker: Any) -> None:
        worker.before_run = None
        raise ExecutionFailed("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : bad", ort_class="InvalidArgument")

    fakes.worker.before_run = fail
    with pytest.raises(ExecutionFailed, match="INVALID_ARGUMENT") as caught:
        model.run({"x": numbers})
    assert caught.value.details == {"ort_class": "InvalidArgument"}
    joins = sum(isinstance(message, m.Join) for message in fakes.worker.heard)
    assert np.array_equal(model.run({"x": numbers})[0], numbers * 2)
    assert sum(isinstance(message, m.Join) for message in fakes.worker.heard) == joins


def test_calls_of_many_threads_get_their_own_answers(slice_: Slice) -> None:
    model = slice_.open_model(b"weights")
    wrong: list[int] = []

    def caller(number: int) -> None:
        for step in range(20):
            value = np.full(3, number * 100 + step, np.float32)
            if not np.array_equal(model.run({"x": value})[0], value * 2):
                wrong.append(number)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert len(slice_.link()._all) <= 32


def test_an_interrupted_call_does_not_hand_its_answer_to_the_next(slice_: Slice, fakes: Any, numbers: Any) -> None:
    model = slice_.open_model(b"weights")
    going, go_on = threading.Event(), threading.Event()

    def hold(worker: Any) -> None:
        worker.before_run = None
        going.set()
        go_on.wait(10)

    fakes.worker.before_run = hold
    main = threading.main_thread().ident or 0

    def interrupt() -> None:
        going.wait(10)
        signal.pthread_kill(main, signal.SIGINT)
        go_on.set()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        model.run({"x": numbers})
    assert np.array_equal(model.run({"x": numbers + 1})[0], (numbers + 1) * 2)


def test_close_gives_the_session_back_and_ends_the_model(slice_: Slice, fakes: Any, numbers: Any) -> None:
    model = slice_.open_model(b"weights")
    model.close()
    model.close()
    assert fakes.worker.closed == [1]
    with pytest.raises(UsageError, match="was closed"):
        model.run({"x": numbers})


def test_a_collected_model_is_closed_on_the_worker(slice_: Slice, fakes: Any, eventually: Callable[..., None]) -> None:
    slice_.open_model(b"weights")
    eventually(lambda: fakes.worker.closed == [1])


def test_a_released_slice_says_so(slice_: Slice, numbers: Any) -> None:
    model = slice_.open_model(b"weights")
    slice_.release()
    with pytest.raises(LeaseLost, match="was released by this program"):
        model.run({"x": numbers})


def test_a_slice_that_was_taken_back_says_why(slice_: Slice, fakes: Any, numbers: Any) -> None:
    model = slice_.open_model(b"weights")
    fakes.broker.ended.add(slice_.slice_id)

    def take_back(worker: Any) -> None:
        fakes.door.refusal = LeaseLost("revoked")
        for peer in list(worker.peers):
            worker.send(peer, m.LinkEnded(error=LeaseLost("an admin released it").to_info()))

    fakes.worker.before_run = take_back
    with pytest.raises(LeaseLost, match="has ended: slice slice-1 was released"):
        model.run({"x": numbers})
    with pytest.raises(LeaseLost, match="has ended"):
        model.run({"x": numbers})


def test_a_call_refused_by_a_stopping_worker_goes_on_where_the_slice_has_moved(slice_: Slice, fakes: Any, numbers: Any) -> None:
    model = slice_.open_model(b"weights")

    def stop(worker: Any) -> None:
        fakes.new_node()
        raise LeaseLost("the slice was taken back while the call waited for its turn")

    fakes.worker.before_run = stop
    fakes.door.refusal = LeaseLost("this node serves the slice no more")
    assert np.array_equal(model.run({"x": numbers})[0], numbers * 2)
    assert slice_.grant.epoch == 2
