"""Recording a function on arrays: it runs once with stand-ins, and what it calls becomes a step.

    f(x, w) ──stand-ins──> operations with local ids ──renumbered──> Step (inputs, operations, outputs)

Inputs are the arguments, and arrays of the slice that the function knows from elsewhere (weights, say). The stand-ins know their
shapes and dtypes; whoever asks for a value is told that there is none yet.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from gpupool.arrays.calling import Caller
from gpupool.arrays.handles import Handle, Life, Links
from gpupool.arrays.origin import Origin
from gpupool_wire.errors import UsageError
from gpupool_wire.messages import OperationCall, Step
from gpupool_wire.operands import Held, Many, Operand
from gpupool_wire.operations import Operation, Spec
from gpupool_wire.tensors import Array, Buffer

if TYPE_CHECKING:
    from gpupool.arrays.array import RemoteArray


class Recording:
    """A stream that keeps what is said to it."""

    def __init__(self, home: Links) -> None:
        self.home = home
        self.ids = itertools.count()
        self.life = Life()

    def check(self, handle: Handle) -> None:
        """Accept every stand-in of this recording."""

    def is_gone(self, handle: Handle) -> bool:
        """Stand-ins are never gone."""
        return False

    def add(
        self,
        name: str,
        args: list[Operand],
        options: dict[str, Operand],
        results: Sequence[Handle],
        origin: Origin,
        frames: Sequence[Buffer] = (),
    ) -> None:
        """Keep an operation."""
        self.life.pending.add(name, args, options, [handle.id for handle in results], origin)

    def teach(self, step: Step) -> None:
        """Refuse."""
        raise UsageError("a recorded step cannot call another one: call the function that it was made of")

    def flush(self) -> None:
        """Nothing waits: nothing is ever sent from here."""

    def read(self, handle: Handle, spec: Spec) -> Array:
        """Refuse."""
        self._refuse(f"the value of an array ({spec.dtype}{list(spec.dims)})")

    def describe(self, handle: Handle) -> Spec:
        """Refuse."""
        self._refuse("a shape that depends on values")

    def _refuse(self, what: str) -> NoReturn:
        raise UsageError(
            f"a recorded step cannot use {what}: it is recorded once, before any value is there. Return the array and read it "
            "outside, or use where() in the place of `if`"
        )


class RecordingCaller(Caller):
    """Calls operations into a recording."""

    def __init__(self, base: Caller) -> None:
        self.recording = Recording(base.stream.home)
        super().__init__(self.recording, base.namespace())
        self._base = base
        #: Handles of the inputs, as the recording numbers them, and the captured arrays among them with what they stand for.
        self.inputs: list[Handle] = []
        self.captured: list[RemoteArray] = []
        self._stand_ins: dict[int, Handle] = {}

    def stand_in(self, spec: Spec) -> RemoteArray:
        """Return an array that stands for an argument."""
        from gpupool.arrays.array import RemoteArray

        handle = Handle(self.stream)
        self.inputs.append(handle)
        return RemoteArray._new(self, handle, spec)

    def own(self, array: RemoteArray) -> int:
        """Return an array's id in the recording; one of the slice's own becomes an input."""
        if array._caller.stream is not self._base.stream:
            return super().own(array)
        known = self._stand_ins.get(array._handle.id)
        if known is None:
            self._base.own(array)  # raises where it is gone
            known = self._stand_ins[array._handle.id] = self.stand_in(array._known_spec)._handle
            self.captured.append(array)
        return known.id

    def queue(self, operation: Operation, args: list[Any], options: dict[str, Any], into: Handle | None = None) -> Any:  # noqa: ANN401
        """Record an operation. Arrays of this host become arrays of the slice, which the step captures."""
        if into is not None and into in self.inputs:
            raise UsageError("a recorded step cannot write to its arguments: write to a copy, and return it")
        if into is not None and into.life is not self.recording.life:
            raise UsageError("a recorded step cannot write to arrays from elsewhere: write to a copy, and return it")
        held = [self._uploaded(item) for item in args]
        return super().queue(operation, held, {key: self._uploaded(item) for key, item in options.items()}, into)

    def _uploaded(self, value: Any) -> Any:  # noqa: ANN401 - any argument
        if isinstance(value, np.ndarray):
            return self._base.upload(value)
        return tuple(map(self._uploaded, value)) if isinstance(value, tuple) else value

    def queue_copy(self, array: RemoteArray) -> RemoteArray:
        """Return a stand-in for an array of the slice that the function returns as it is."""
        copied: RemoteArray = self.call("copied", (array,), {})
        return copied

    def step(self, step_id: int, outputs: Sequence[Handle]) -> tuple[Step, list[Origin]]:
        """Return what was recorded, with inputs numbered first, and where each operation was called."""
        batch = self.recording.life.pending.take()
        number = {handle.id: place for place, handle in enumerate(self.inputs)}
        for call in batch.operations:
            for result in call.results:
                number.setdefault(result, len(number))
        kept = {handle.id for handle in (*outputs, *self.inputs)}
        operations = [_renumbered(call, number, kept) for call in batch.operations]
        step = Step(step_id=step_id, inputs=len(self.inputs), operations=operations, outputs=[number[out.id] for out in outputs])
        return step, batch.origins


def _renumbered(call: OperationCall, number: dict[int, int], kept: set[int]) -> OperationCall:
    return OperationCall(
        name=call.name,
        args=[_operand(item, number) for item in call.args],
        options={key: _operand(item, number) for key, item in call.options.items()},
        results=[number[result] for result in call.results],
        drops=[number[dead] for dead in call.drops if dead in number and dead not in kept],
    )


def _operand(operand: Operand, number: dict[int, int]) -> Operand:
    if isinstance(operand, Held):
        return Held(number[operand.id])
    return Many([_operand(item, number) for item in operand.items]) if isinstance(operand, Many) else operand
