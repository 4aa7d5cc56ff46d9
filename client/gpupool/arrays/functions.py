"""`slice.function(f)`: f on arrays, recorded once for each kind of arguments and replayed with one operation.

step = slice.function(f)
y = step(x, w)        first: f runs with stand-ins, the worker learns the step
y = step(y, w)        then: one operation, whatever f does
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

import msgspec
import numpy as np

from gpupool.arrays.array import RemoteArray
from gpupool.arrays.calling import Caller
from gpupool.arrays.handles import Handle, Life
from gpupool.arrays.origin import Origin, here
from gpupool.arrays.recording import RecordingCaller
from gpupool.unpicklable import Unpicklable
from gpupool_wire.errors import UsageError
from gpupool_wire.messages import Step
from gpupool_wire.operands import Held
from gpupool_wire.operations import Spec

P = ParamSpec("P")
R = TypeVar("R")

#: Kinds of arguments one function is recorded for: beyond that it is called with something that changes every time.
MAX_RECORDINGS = 64


class Recorded(msgspec.Struct, kw_only=True):
    """A step, and what a call of it gives."""

    step: Step
    origins: list[Origin]
    captured: list[RemoteArray]
    #: What the function returned, with the number of an output in the place of each array.
    returned: Any
    outputs: list[Spec]
    #: The life of the stream in which the worker learnt it.
    life: Life


class _Output:
    """The place of an array in what a function returns."""

    def __init__(self, number: int) -> None:
        self.number = number


class StepFunction(Unpicklable, Generic[P, R]):
    """A function whose array work is recorded once and replayed. Thread-safe.

    It is recorded anew for other shapes, dtypes or plain arguments, which have to be hashable. What the function does beside
    array operations happens only when it is recorded. It returns arrays, or tuples, lists and dicts of them.
    """

    _instead_of_pickling = (
        "a recorded step cannot be pickled: it belongs to this process. Pickle the function it was made of, and record it there"
    )

    def __init__(self, caller: Caller, function: Callable[P, R]) -> None:
        self._caller = caller
        self._function = function
        self._recorded: dict[Hashable, Recorded] = {}
        self._recording = threading.Lock()
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<StepFunction {self._name}, recorded for {len(self._recorded)} kinds of arguments>"

    @property
    def _name(self) -> str:
        return getattr(self._function, "__name__", "step")

    def __del__(self) -> None:
        for recorded in self._recorded.values():
            recorded.life.pending.dead_steps.append(recorded.step.step_id)

    def __call__(self, *args: P.args, **options: P.kwargs) -> R:
        """Return what the function returns for these arguments; raise what it raises while it is recorded."""
        self._caller.refuse_nesting()
        arrays: list[RemoteArray] = []
        key = (
            tuple(self._kind(item, arrays) for item in args),
            tuple((n, self._kind(options[n], arrays)) for n in sorted(options)),
        )
        with self._recording:
            recorded = self._recorded.get(key)
            if recorded is None:
                recorded = self._record(args, options)
                self._recorded[key] = recorded
            elif recorded.life is not self._caller.stream.life:
                self._teach(recorded)
        returned: R = self._replay(recorded, arrays)
        return returned

    def _kind(self, value: Any, arrays: list[RemoteArray]) -> Hashable:  # noqa: ANN401 - any argument
        if isinstance(value, np.ndarray | np.generic):
            raise UsageError(
                f"{self._name} is replayed on the device: give it an array of the slice (slice.xp.asarray) or a plain number"
            )
        if isinstance(value, RemoteArray):
            self._caller.own(value)
            arrays.append(value)
            return (value.dtype, value.shape)
        if isinstance(value, tuple | list):
            return (type(value), tuple(self._kind(item, arrays) for item in value))
        try:
            hash(value)
        except TypeError:
            raise UsageError(f"{self._name} takes arrays and hashable arguments, not a {type(value).__name__}") from None
        return (type(value), value)

    def _record(self, args: Sequence[Any], options: Mapping[str, Any]) -> Recorded:
        if len(self._recorded) >= MAX_RECORDINGS:
            raise UsageError(
                f"{self._name} was recorded for {MAX_RECORDINGS} kinds of arguments: pass what changes every time as an array"
            )
        caller = RecordingCaller(self._caller)
        stood_in = [_mapped(item, lambda array: caller.stand_in(array._known_spec)) for item in args]
        # In the order in which a call finds its arrays: by position, then by name.
        named = {name: _mapped(options[name], lambda array: caller.stand_in(array._known_spec)) for name in sorted(options)}
        with self._caller.recorded_by(caller):
            result = self._function(*stood_in, **named)
        handles: list[Handle] = []
        specs: list[Spec] = []

        def output(array: RemoteArray) -> _Output:
            if array._caller is not caller:
                array = caller.queue_copy(array)
            handles.append(array._handle)
            specs.append(array._spec)
            return _Output(len(handles) - 1)

        returned = _mapped(result, output)
        step, origins = caller.step(next(self._caller.stream.ids), handles)
        recorded = Recorded(
            step=step,
            origins=origins,
            captured=caller.captured,
            returned=returned,
            outputs=specs,
            life=self._caller.stream.life,
        )
        self._teach(recorded)
        return recorded

    def _teach(self, recorded: Recorded) -> None:
        recorded.life = self._caller.stream.life
        self._caller.stream.teach(recorded.step)

    def _replay(self, recorded: Recorded, arrays: list[RemoteArray]) -> Any:  # noqa: ANN401 - what the function returns
        stream = self._caller.stream
        handles = [Handle(stream) for _ in recorded.outputs]
        inputs = [Held(self._caller.own(array)) for array in (*arrays, *recorded.captured)]
        origin = here(self._name)
        origin.inner = recorded.origins
        stream.add("step", [recorded.step.step_id, *inputs], {}, handles, origin)
        made = [RemoteArray._new(self._caller, handle, spec) for handle, spec in zip(handles, recorded.outputs, strict=True)]
        return _mapped(recorded.returned, lambda output: made[output.number], _Output)


def _mapped(value: Any, leaf: Callable[[Any], Any], kind: type = RemoteArray) -> Any:  # noqa: ANN401 - nested containers
    """Return a value with something else in the place of each array in its tuples, lists and dicts."""
    if isinstance(value, kind):
        return leaf(value)
    if isinstance(value, dict):
        return {key: _mapped(item, leaf, kind) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_mapped(item, leaf, kind) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
