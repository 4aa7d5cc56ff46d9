"""What a real worker does with array operations, those that behave and those that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from gpupool_agent.standalone import StandaloneWorker
from gpupool_wire import messages as m
from gpupool_wire.errors import GpupoolError, LimitExceeded, NotFound, UsageError, from_info
from gpupool_wire.operands import DType, Held, Many, Operand, Sent, Span
from gpupool_wire.tensors import Array, Buffer, HeldSpec, TensorSpec, pack_tensor, unpack_values
from gpupool_wire.units import MIB

pytestmark = pytest.mark.system
X = np.arange(12, dtype=np.float32).reshape(3, 4)


class Desk:
    """Says batches to a worker through one channel."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.frames: list[Buffer] = []

    def sent(self, array: Array) -> Sent:
        spec, frames = pack_tensor(array)
        self.frames += frames
        return Sent(spec)

    def ask(self, *operations: m.OperationCall, **fields: Any) -> tuple[m.Operated, list[Any]]:
        """Say a batch; return the answer and the arrays it brings."""
        frames, self.frames = self.frames, []
        self.client.send(m.Operate(call_id=1, operations=list(operations), **fields), frames)
        answer, frames = self.client.receive()
        if isinstance(answer, m.Failed):
            raise from_info(answer.error)
        assert isinstance(answer, m.Operated)
        specs = [spec for spec in answer.values if isinstance(spec, TensorSpec)]
        return answer, unpack_values(specs, frames)

    def used_bytes(self) -> int:
        used: int = self.client.usage().memory_used_bytes
        return used


def do(name: str, *args: Operand, to: Sequence[int], drops: Sequence[int] = (), **options: Operand) -> m.OperationCall:
    return m.OperationCall(name=name, args=list(args), options=options, results=list(to), drops=list(drops))


def zeros(*shape: int, to: int) -> m.OperationCall:
    return do("zeros", to=[to], shape=Many(list(shape)), dtype=DType("float32"))


@pytest.fixture
def desk(client: Any) -> Iterator[Desk]:
    desk = Desk(client)
    yield desk
    assert desk.ask()[0].values == []  # it still answers, whatever the test has done


def error_of(answer: m.Operated, number: int = 0) -> GpupoolError:
    return from_info(answer.broken[number].error)


def test_operations_are_done_in_order_and_arrays_are_sent_back(desk: Desk) -> None:
    made = [do("asarray", desk.sent(X), to=[1]), do("multiply", Held(1), 2.0, to=[2]), do("sum", Held(2), to=[3], axis=1)]
    answer, (doubled, sums) = desk.ask(*made, fetch=[2, 3])
    assert np.array_equal(doubled, X * 2)
    assert np.array_equal(sums, (X * 2).sum(axis=1))
    assert answer.timing.execute_ns > 0
    assert desk.ask(fetch=[1])[1][0].tolist() == X.tolist()


def test_arrays_are_charged_to_the_slice_once_for_all_their_views(desk: Desk) -> None:
    before = desk.used_bytes()
    desk.ask(zeros(1024, 1024, to=1), do("permute_dims", Held(1), to=[2], axes=Many([1, 0])), do("getitem", Held(2), 0, to=[3]))
    assert desk.used_bytes() - before == 4 * MIB
    desk.ask(drops=[1, 2])
    assert desk.used_bytes() - before == 4 * MIB  # the last view keeps it
    desk.ask(drops=[3])
    assert desk.used_bytes() == before


def test_memory_is_refused_before_it_is_taken_and_the_rest_of_the_batch_goes_on(start_worker: Any, connect: Any) -> None:
    worker = start_worker(memory_mib=8)
    desk = Desk(connect(worker, worker.admit("link")))
    kept = [zeros(1024, 1024, to=1), zeros(1024, to=3), do("add", Held(3), 5, to=[5])]
    answer, _ = desk.ask(*kept)
    assert not answer.broken
    answer, values = desk.ask(
        zeros(1024, 1024, to=6), do("add", Held(6), Held(5), to=[7]), do("add", Held(5), 1, to=[8]), fetch=[7, 8]
    )
    error = error_of(answer)
    assert (answer.broken[0].index, answer.broken[0].root) == (0, 6)
    assert error.code == "out_of_memory"
    assert (error.details["asked_bytes"], error.details["limit_bytes"]) == (4 * MIB, 8 * MIB)
    assert error.message.startswith("arrays of zeros asked for 4.0 MiB")
    assert "held are 4.0 MiB for arrays of zeros" in error.message
    assert isinstance(answer.values[0], m.BrokenArray)  # made of what was never made
    assert answer.values[0].root == 6
    assert values[0].tolist() == [6.0] * 1024


def test_a_dropped_array_makes_room_for_the_next_operation_of_the_same_batch(start_worker: Any, connect: Any) -> None:
    worker = start_worker(memory_mib=9)
    desk = Desk(connect(worker, worker.admit("link")))
    chain = [zeros(1024, 1024, to=1), *(do("add", Held(n), 1, to=[n + 1], drops=[n - 1]) for n in range(1, 50))]
    answer, (last,) = desk.ask(*chain, fetch=[50])
    assert not answer.broken
    assert last[0, 0] == 49


def test_writing_to_an_array_leaves_its_views_as_they_were(desk: Desk) -> None:
    row = do("getitem", Held(1), 0, to=[2])
    write = do("setitem", Held(1), Many([0, Span(1, None, None)]), 9.0, to=[1])
    answer, (written, view) = desk.ask(do("asarray", desk.sent(X), to=[1]), row, write, fetch=[1, 2])
    assert not answer.broken
    assert written[0].tolist() == [0, 9, 9, 9]
    assert view.tolist() == X[0].tolist()


def test_a_write_in_place_takes_no_more_memory(desk: Desk) -> None:
    desk.ask(zeros(1024, 1024, to=1))
    before = desk.used_bytes()
    for _ in range(3):
        desk.ask(do("setitem", Held(1), Many([0]), 1.0, to=[1]))
    assert desk.used_bytes() == before


def test_shapes_that_depend_on_values_are_told_when_asked(desk: Desk) -> None:
    answer, _ = desk.ask(do("asarray", desk.sent(X), to=[1]), do("nonzero", Held(1), to=[2, 3]), describe=[2, 3])
    assert answer.described == [m.Described("int64", (11,)), m.Described("int64", (11,))]


def test_an_array_too_large_to_travel_is_refused_before_it_is_copied(desk: Desk) -> None:
    wide = do("broadcast_to", Held(1), to=[2], shape=Many([2**40]))
    answer, _ = desk.ask(zeros(1, to=1), wide, fetch=[2])
    assert not answer.broken
    (refused,) = answer.values
    assert isinstance(refused, m.BrokenArray)
    assert refused.error.code == "limit"
    assert desk.ask(do("getitem", Held(2), 7, to=[3]), fetch=[3])[1][0] == 0


def test_a_recorded_step_is_replayed_by_its_number(desk: Desk) -> None:
    step = m.Step(
        step_id=7, inputs=2, operations=[do("add", Held(0), Held(1), to=[2]), do("sum", Held(2), to=[3], drops=[1])], outputs=[3]
    )
    answer, (total,) = desk.ask(
        do("asarray", desk.sent(X), to=[1]), do("step", 7, Held(1), Held(1), to=[2]), steps=[step], fetch=[2]
    )
    assert not answer.broken
    assert total == (X + X).sum()
    assert desk.ask(do("step", 7, Held(2), Held(1), to=[3]), fetch=[3])[1][0] == (X + total).sum()
    answer, _ = desk.ask(do("step", 7, Held(1), Held(1), to=[4]), forget_steps=[7])
    assert "no step" in error_of(answer).message


def test_a_failure_inside_a_step_names_its_place_and_gives_everything_back(desk: Desk) -> None:
    before = desk.used_bytes()
    operations = [zeros(1024, to=1), do("linalg.inv", Held(0), to=[2])]
    step = m.Step(step_id=1, inputs=1, operations=operations, outputs=[2])
    singular = do("zeros", to=[1], shape=Many([2, 2]))
    answer, _ = desk.ask(singular, do("step", 1, Held(1), to=[2]), steps=[step], drops=[1])
    assert "Singular matrix" in error_of(answer).message
    assert error_of(answer).details["step_position"] == 1
    assert desk.used_bytes() == before


@pytest.mark.parametrize(
    "bad",
    [
        do("__import__", "os", to=[1]),
        do("linalg.__builtins__", to=[1]),
        do("getitem", Held(99), 0, to=[1]),
        do("add", 1, to=[1]),
        do("add", Held(1), Held(1), to=[1, 2, 3]),
        do("step", 5, to=[1]),
        do("reshape", Many([Many([Many([Many([Many([Many([])])])])])]), to=[1]),
        do("astype", Held(1), DType("object"), to=[2]),
        do("sum", Held(1), to=[2], out=Held(1)),
        do("concat", Many([Held(1), 3]), to=[2]),
    ],
    ids=lambda call: call.name,
)
def test_an_operation_that_cannot_be_is_an_error_of_its_own(desk: Desk, bad: m.OperationCall) -> None:
    answer, _ = desk.ask(zeros(3, to=1), bad)
    assert len(answer.broken) == 1
    assert isinstance(error_of(answer), GpupoolError)
    assert answer.broken[0].index == 1


def test_arrays_belong_to_the_link_that_made_them(shared_worker: StandaloneWorker, connect: Callable[..., Any]) -> None:
    owner, stranger = (Desk(connect(shared_worker, shared_worker.admit(f"array-owner-{n}"))) for n in range(2))
    owner.ask(zeros(3, to=1))
    with pytest.raises(NotFound):
        stranger.ask(fetch=[1])
    answer, _ = stranger.ask(do("add", Held(1), 1, to=[2]))
    assert isinstance(error_of(answer), NotFound)


def test_a_link_that_goes_gives_its_arrays_back(start_worker: Any, connect: Any, eventually: Any) -> None:
    worker = start_worker(memory_mib=64)
    watcher = Desk(connect(worker, worker.admit("watcher")))
    goer = Desk(connect(worker, worker.admit("goer")))
    goer.ask(zeros(1024, 1024, to=1))
    assert watcher.used_bytes() == 4 * MIB
    goer.client.send(m.Leave())
    eventually(lambda: watcher.used_bytes() == 0)


def test_a_run_takes_held_arrays_and_leaves_its_outputs_on_the_device(desk: Desk, models: Any) -> None:
    session = desk.client.open(models.doubling())
    x = np.arange(6, dtype=np.float32)
    desk.ask(do("asarray", desk.sent(x), to=[1]))
    run = m.Run(call_id=2, session_id=session.session_id, feed=[("x", HeldSpec(1))], keep=[("y", 2)])
    desk.client.send(run)
    answer, frames = desk.client.receive()
    assert isinstance(answer, m.Result)
    assert answer.outputs == [HeldSpec(2, "float32", (6,))]
    assert not frames
    assert desk.ask(do("max", Held(2), to=[3]), fetch=[3])[1][0] == 10.0
    run = m.Run(call_id=2, session_id=session.session_id, feed=[("x", HeldSpec(77))])
    assert desk.client.ask(run).error.code == "not_found"


def test_a_long_batch_is_done_in_turns_and_others_are_served_meanwhile(
    shared_worker: StandaloneWorker, connect: Callable[..., Any]
) -> None:
    long, short = (Desk(connect(shared_worker, shared_worker.admit(f"turns-{n}"))) for n in range(2))
    matrix = np.full((300, 300), 1 / 300, np.float32)
    long.ask(do("asarray", long.sent(matrix), to=[0]))
    chain = [do("matmul", Held(n), Held(0), to=[n + 1], drops=[n - 1] if n > 1 else []) for n in range(400)]
    long.client.send(m.Operate(call_id=1, operations=chain, fetch=[400]))
    assert short.ask(zeros(2, to=1), fetch=[1])[1][0].tolist() == [0, 0]
    answer, frames = long.client.receive()
    assert isinstance(answer, m.Operated)
    assert np.allclose(unpack_values(answer.values, frames)[0], matrix)


def test_a_null_device_has_no_arrays(start_worker: Any, connect: Any) -> None:
    worker = start_worker(kind="null")
    desk = Desk(connect(worker, worker.admit("link")))
    with pytest.raises(UsageError, match="computes nothing"):
        desk.ask(zeros(3, to=1))


def test_too_many_steps_are_refused(desk: Desk) -> None:
    steps = [m.Step(step_id=n, inputs=0, operations=[], outputs=[]) for n in range(1025)]
    with pytest.raises(LimitExceeded, match="steps are recorded already"):
        desk.ask(steps=steps)
