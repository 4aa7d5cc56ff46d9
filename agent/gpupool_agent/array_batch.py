"""One batch of array operations on its way: done in order, in as many turns as it takes.

Operate ──> Batch ──advance──> perform ──> store        ... all done ──answer──> Operated and its frames
                     └── fails: its results are broken, and so is whatever is made of them; the rest goes on
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec

from gpupool_agent.array_operation import Arguments, Made, perform
from gpupool_agent.array_store import ArrayStore, Broken, Kept
from gpupool_agent.devices.library import DeviceArray
from gpupool_wire.coding.sizes import coded_nbytes
from gpupool_wire.errors import GpupoolError, LimitExceeded, OutOfSliceMemory, RemoteProtocolError
from gpupool_wire.limits import MAX_MESSAGE_BYTES
from gpupool_wire.messages import Breakage, BrokenArray, Described, Operate, Operated, OperationCall, Step, Timing
from gpupool_wire.operands import Held, Many, Operand, Sent, from_operand
from gpupool_wire.operations import OPERATIONS
from gpupool_wire.tensors import Buffer, TensorSpec, name_of, unpack_tensor

#: The name of a call that replays a recorded step.
STEP = "step"
#: Steps one link may have recorded: one for each function a program decorates.
MAX_STEPS = 1024
_VIEWS = frozenset(name for name, operation in OPERATIONS.items() if operation.is_view)


class _IsBroken(Exception):
    """An operand was never made."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(broken.error.message)
        self.broken = broken


class Batch:
    """The operations of one message, and how far they are. Used by one thread at a time."""

    def __init__(self, message: Operate, frames: list[Buffer], store: ArrayStore) -> None:
        self._message = message
        self._frames = iter(frames)
        self._store = store
        self._doing: _Doing | None = None
        self._breakages: list[Breakage] = []
        self._took_ns: list[int] = []
        self.done = 0
        for step_id in message.forget_steps:
            store.steps.pop(step_id, None)
        for step in message.steps:
            self._learn(step)

    def __repr__(self) -> str:
        return f"<Batch, {self.done} of {len(self._message.operations)} operations done>"

    @property
    def is_done(self) -> bool:
        """Whether every operation has been done, or has failed."""
        return self.done >= len(self._message.operations)

    def operand_bytes(self) -> int:
        """Return the bytes of what the next operation looks at: how much work it may be. A view looks at nothing."""
        call = self._message.operations[self.done]
        with self._store.lock:
            found = [self._store.peek(array_id) for array_id in _held([*call.args, *call.options.values()])]
            # Of what lies in pieces it may be a copy, and an index that is an array gathers.
            if call.name in _VIEWS and len(found) == 1 and isinstance(found[0], Kept) and found[0].array.flags.c_contiguous:
                return 0
            return sum(kept.spec.nbytes for kept in found if isinstance(kept, Kept))

    def advance(self, make_room: Callable[[], bool] | None = None) -> bool:
        """Do the next operation. Where memory is short, `make_room` is asked for some until it has none left.

        Returns False, with nothing done, where memory is short and nobody can be asked.
        """
        call = self._message.operations[self.done]
        started_ns = time.perf_counter_ns()
        doing = self._doing = self._doing or _Doing(call, self._store, self._frames)
        with self._store.lock:
            while True:
                try:
                    doing.do()
                except OutOfSliceMemory as error:
                    if make_room is None:
                        return False
                    if make_room():
                        continue
                    self._fail(call, error)
                except GpupoolError as error:
                    self._fail(call, error)
                except _IsBroken as stop:
                    self._store.put_broken(call.results, stop.broken)
                break
        self._doing = None
        self.done += 1
        if self._message.measure:
            self._took_ns.append(time.perf_counter_ns() - started_ns)
        return True

    def answer(self, timing: Timing) -> tuple[Operated, list[Buffer]]:
        """Return the reply and its frames; then give back what nobody needs any more. Raises NotFound for an unknown id."""
        message, store = self._message, self._store
        values: list[TensorSpec | BrokenArray] = []
        frames: list[Buffer] = []
        coding_ns = 0
        with store.lock:
            for array_id in message.fetch:
                found = store.get(array_id)
                found = _too_large(array_id, found) or found
                if isinstance(found, Broken):
                    values.append(BrokenArray(found.root, found.error))
                    continue
                array = store.library.to_host(found.array)
                started_ns = time.monotonic_ns()
                spec, more = store.coder.pack(array, message.link_bytes_per_s)
                coding_ns += time.monotonic_ns() - started_ns
                values.append(spec)
                frames += more
            described = [_described(store.get(array_id)) for array_id in message.describe]
            for array_id in message.drops:
                store.drop(array_id)
        timing = msgspec.structs.replace(timing, coding_ns=coding_ns)
        reply = Operated(
            call_id=message.call_id,
            values=values,
            described=described,
            broken=self._breakages,
            timing=timing,
            operation_ns=self._took_ns,
        )
        return reply, frames

    def _fail(self, call: OperationCall, error: GpupoolError) -> None:
        info = error.to_info()
        root = call.results[0] if call.results else 0
        self._breakages.append(Breakage(index=self.done, root=root, error=info))
        self._store.put_broken(call.results, Broken(root, info))

    def _learn(self, step: Step) -> None:
        if len(self._store.steps) >= MAX_STEPS:
            raise LimitExceeded(f"{MAX_STEPS} steps are recorded already: let some go", limit=MAX_STEPS)
        if any(call.name == STEP for call in step.operations):
            raise RemoteProtocolError("a step holds operations, not steps")
        self._store.steps[step.step_id] = step


class _Doing:
    """One operation, tried until it is done or fails. What was sent with it is unpacked once."""

    def __init__(self, call: OperationCall, store: ArrayStore, frames: Iterator[Buffer]) -> None:
        self._call = call
        self._store = store
        specs = list(_sent([*call.args, *call.options.values()]))
        if (decoded := coded_nbytes(specs)) > store.account.limit_bytes:
            raise store.account.refusal(decoded, f"the coded operands of {call.name}")
        self._sent = [self._received(unpack_tensor(spec, list(islice(frames, spec.frames)))) for spec in specs]

    def _received(self, array: DeviceArray) -> DeviceArray:
        return self._store.library.from_host(array)

    def do(self) -> None:
        """Do it. Whatever it raises, no result is held then: _IsBroken for an operand that is, else what `perform` raises."""
        call, store = self._call, self._store
        for array_id in call.drops:
            store.drop(array_id)
        arguments = _arguments(call, iter(self._sent), self._look_up)
        if call.name == STEP:
            made = self._replayed(arguments.args)
        else:
            made = perform(store, call.name, arguments, len(call.results), in_place=self._writes_in_place())
        self._put(made)

    def _put(self, made: list[Made]) -> None:
        waiting = list(made)
        try:
            for array_id in self._call.results:
                array, charge = waiting.pop(0)
                self._store.put(array_id, array, charge, name=self._call.name)
        finally:
            for rest in waiting:
                self._give_back(rest)

    def _look_up(self, array_id: int) -> DeviceArray:
        found = self._store.get(array_id)
        if isinstance(found, Broken):
            raise _IsBroken(found)
        return found.array

    def _writes_in_place(self) -> bool:
        """Whether this is a setitem whose operand is also its result and shares its memory with nobody."""
        call = self._call
        if call.name != "setitem" or not call.args or not isinstance(call.args[0], Held):
            return False
        found = self._store.peek(call.args[0].id)
        return isinstance(found, Kept) and [call.args[0].id] == call.results and self._store.is_alone(found)

    def _replayed(self, args: list[object]) -> list[Made]:
        """Do a recorded step. Its inputs are this call's operands; its other ids mean nothing outside of it."""
        step = self._store.steps.get(args[0]) if args and isinstance(args[0], int) else None
        if step is None or len(args) != 1 + step.inputs:
            raise RemoteProtocolError(f"there is no step {args[:1]} of {len(args) - 1} inputs on this link")
        local = {number: Made(self._store.library.as_array(item), None) for number, item in enumerate(args[1:])}
        try:
            for position, call in enumerate(step.operations):
                self._replay(position, call, local)
            return [local.pop(output) for output in step.outputs]
        except KeyError as error:
            raise RemoteProtocolError(f"a step names array {error}, which it has not made or has dropped") from error
        finally:
            for made in local.values():
                self._give_back(made)

    def _replay(self, position: int, call: OperationCall, local: dict[int, Made]) -> None:
        for array_id in call.drops:
            self._give_back(local.pop(array_id))
        arguments = _arguments(call, iter(()), lambda array_id: local[array_id].array)
        try:
            made = perform(self._store, call.name, arguments, len(call.results))
        except GpupoolError as error:
            error.details["step_position"] = position
            raise
        local.update(zip(call.results, made, strict=True))

    def _give_back(self, made: Made) -> None:
        if made.charge is not None:
            self._store.account.give(made.charge)


def _arguments(call: OperationCall, sent: Iterator[DeviceArray], look_up: Callable[[int], DeviceArray]) -> Arguments:
    """Return the arguments of a call, with arrays for what was sent and for what is held."""

    def array(operand: Held | Sent) -> DeviceArray:
        if isinstance(operand, Held):
            return look_up(operand.id)
        try:
            return next(sent)
        except StopIteration:
            raise RemoteProtocolError("a recorded step is sent no tensors: they are its inputs") from None

    args = [from_operand(item, array) for item in call.args]
    return Arguments(args, {name: from_operand(item, array) for name, item in call.options.items()})


def _too_large(array_id: int, found: Kept | Broken) -> Broken | None:
    """Return what is said of an array that does not fit one message, before it is copied: a view may be any size."""
    if isinstance(found, Broken) or found.spec.nbytes <= MAX_MESSAGE_BYTES:
        return None
    error = LimitExceeded(
        f"an array of {found.spec.nbytes} bytes is over the {MAX_MESSAGE_BYTES} that travel at a time: fetch slices of it",
        nbytes=found.spec.nbytes,
        limit=MAX_MESSAGE_BYTES,
    )
    return Broken(array_id, error.to_info())


def _described(found: Kept | Broken) -> Described | BrokenArray:
    if isinstance(found, Broken):
        return BrokenArray(found.root, found.error)
    return Described(name_of(found.spec.dtype), found.spec.dims)


def _leaves(operands: Iterable[Operand]) -> Iterator[Operand]:
    for operand in operands:
        if isinstance(operand, Many):
            yield from _leaves(operand.items)
        else:
            yield operand


def _held(operands: Iterable[Operand]) -> Iterator[int]:
    return (operand.id for operand in _leaves(operands) if isinstance(operand, Held))


def _sent(operands: Iterable[Operand]) -> Iterator[TensorSpec]:
    return (operand.spec for operand in _leaves(operands) if isinstance(operand, Sent))
