"""From a call to a queued operation: bound, inferred, put into operands.

function(args) ──bind──> canonical ──infer──> specs (NumPy's own errors here) ──operands──> stream.add ──> RemoteArray(s)
"""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from gpupool.arrays.handles import Handle, Stream
from gpupool.arrays.origin import here
from gpupool_wire.coding import Coder
from gpupool_wire.errors import UsageError
from gpupool_wire.operands import Held, Operand, Sent, to_operand
from gpupool_wire.operations import OPERATIONS, Operation, Spec, rebuilt
from gpupool_wire.tensors import Array, Buffer

if TYPE_CHECKING:
    from gpupool.arrays.array import RemoteArray
    from gpupool.arrays.namespace import Namespace

#: Arrays on a device are of these kinds: bool, signed and unsigned integers, floats, complex numbers.
_KINDS = "biufc"
_DTYPE_CLASSES = (np.generic, bool, int, float, complex)
#: Tensors up to this size are copied when they are queued; larger ones are sent at once, so that the program may change them.
COPIED_BYTES = 256 * 1024


def checked_dtype(dtype: Any) -> np.dtype[Any]:  # noqa: ANN401 - what NumPy takes as a dtype
    """Return a dtype an array on a device can have; raise UsageError for one it cannot."""
    known = np.dtype(dtype)
    if known.kind not in _KINDS or known.itemsize > 16 or known.name in ("float128", "longdouble"):
        raise UsageError(
            f"no device has arrays of dtype {known}: it must be bool, an integer, a float up to float64 or a complex number"
        )
    native: np.dtype[Any] = known.newbyteorder("=")
    return native


class Caller:
    """Calls operations of the table on one slice."""

    def __init__(self, stream: Stream, namespace: Namespace) -> None:
        self.stream = stream
        self._namespace = namespace
        #: What was learnt of arrays that were sent.
        self._coder = Coder(time.perf_counter_ns)
        #: What records the operations of a thread that is inside a function being recorded.
        self._now = threading.local()

    def namespace(self, api_version: str | None = None) -> Namespace:
        """Return the namespace it calls for; raise ValueError where that follows an older version of the standard."""
        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise ValueError(f"slice.xp follows the array API standard 2024.12, not {api_version!r}")
        return self._namespace

    def call(self, name: str, args: Sequence[Any], options: Mapping[str, Any]) -> Any:  # noqa: ANN401 - array(s)
        """Queue an operation and return its result: an array, or several as NumPy returns them.

        Raises what NumPy raises for such arguments (TypeError, ValueError, AxisError, ...), UsageError for an array of another
        slice, WorkerLost and LeaseLost.
        """
        if (recorder := getattr(self._now, "recorder", None)) is not None:
            return recorder.call(name, args, options)
        operation = OPERATIONS[name]
        bound, named = operation.signature.bind(args, options)
        named = self._without_device(named)
        if named.get("dtype") is not None:
            named["dtype"] = checked_dtype(named["dtype"])
        args = [self._normal(item) for item in bound]
        return self.queue(operation, args, {key: self._normal(item) for key, item in named.items()})

    def queue(  # what it gives is one array or several
        self, operation: Operation, args: list[Any], options: dict[str, Any], into: Handle | None = None
    ) -> Any:  # noqa: ANN401
        """Queue an operation whose arguments are canonical. Its result takes the place of the array `into`, if that is given."""
        from gpupool.arrays.array import RemoteArray

        outcome = operation.infer([_specs(item) for item in args], {key: _specs(item) for key, item in options.items()})
        frames: list[Buffer] = []

        def operand(value: Any) -> Operand:  # noqa: ANN401 - an argument that is no plain value
            if isinstance(value, RemoteArray):
                return Held(self.own(value))
            if isinstance(value, np.ndarray):
                is_large = value.nbytes > COPIED_BYTES
                spec, more = self._coder.pack(value, self.stream.home.bytes_per_s if is_large else 0)
                frames.extend(more if is_large else map(bytes, more))
                return Sent(spec)
            raise TypeError(f"{operation.name}() takes no {type(value).__name__}")

        wire_args = [to_operand(item, operand) for item in args]
        wire_options = {key: to_operand(item, operand) for key, item in options.items()}
        several = not isinstance(outcome, Spec)
        specs: list[Spec] = list(outcome) if several else [outcome]  # type: ignore[list-item,arg-type]
        handles = [into or Handle(self.stream) for _ in specs]
        self.stream.add(operation.name, wire_args, wire_options, handles, here(operation.name), frames)
        if sum(map(len, frames)) > COPIED_BYTES:
            self.stream.flush()  # nothing was copied, so the program may not change it before it is sent
        arrays = [RemoteArray._new(self, handle, spec) for handle, spec in zip(handles, specs, strict=True)]
        return rebuilt(outcome, arrays) if several else arrays[0]

    def assign(self, array: RemoteArray, key: Any, value: Any) -> None:  # noqa: ANN401 - as in array[key] = value
        """Queue array[key] = value."""
        caller: Caller = getattr(self._now, "recorder", None) or self
        args = [array, self._normal(key), self._normal(value)]
        caller.queue(OPERATIONS["setitem"], args, {}, into=array._handle)

    @contextmanager
    def recorded_by(self, recorder: Caller) -> Iterator[None]:
        """Have what this thread calls recorded instead."""
        self.refuse_nesting()
        self._now.recorder = recorder
        try:
            yield
        finally:
            del self._now.recorder

    def upload(self, array: Array) -> RemoteArray:
        """Return an array on the device with the value of one on this host."""
        checked_dtype(array.dtype)
        self.stream.home.check_room(array.nbytes)
        made: RemoteArray = self.queue(OPERATIONS["asarray"], [array], {})
        return made

    def own(self, array: RemoteArray) -> int:
        """Return an array's id; raise UsageError where it is on another slice."""
        stream = array._caller.stream
        if stream is not self.stream:
            raise UsageError(
                f"arrays of two slices cannot be combined: one is on {stream.home.slice_id} ({stream.home.device}), the other on "
                f"{self.stream.home.slice_id} ({self.stream.home.device}): fetch one with numpy.asarray, upload it to the other"
            )
        stream.check(array._handle)
        return array._handle.id

    def check(self, array: RemoteArray) -> None:
        """Raise as `own` does for an array that cannot be used here and now."""
        (getattr(self._now, "recorder", None) or self).own(array)

    def refuse_nesting(self) -> None:
        """Raise UsageError inside a function that is being recorded."""
        if getattr(self._now, "recorder", None) is not None:
            raise UsageError("a recorded step cannot call another one: call the function that it was made of")

    def _without_device(self, options: dict[str, Any]) -> dict[str, Any]:
        if "device" in options:
            self.check_device(options.pop("device"))
        return options

    def check_device(self, device: Any) -> None:  # noqa: ANN401 - whatever a program names
        """Raise ValueError for a device that is not the slice's."""
        if device is not None and device != self.stream.home.device:
            raise ValueError(f"device {device!r} is not this slice's: there is {self.stream.home.device!r} only")

    def _normal(self, value: Any) -> Any:  # noqa: ANN401 - any argument
        """Return an argument as rules and operands know it: dtypes as such, NumPy's scalars as arrays."""
        from gpupool.arrays.array import RemoteArray

        if isinstance(value, np.generic):
            return np.asarray(value)
        if value is None or isinstance(value, RemoteArray | bool | int | float | str):
            return value
        if isinstance(value, np.ndarray):
            checked_dtype(value.dtype)
            return value
        if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, _DTYPE_CLASSES)):
            return checked_dtype(value)
        if isinstance(value, tuple | list):
            return tuple(self._normal(item) for item in value)
        if isinstance(value, slice):
            return slice(*(None if end is None else operator.index(end) for end in (value.start, value.stop, value.step)))
        return value


def _specs(value: Any) -> Any:  # noqa: ANN401 - any argument
    """Return an argument with a Spec in the place of each array."""
    if isinstance(value, tuple):
        return tuple(map(_specs, value))
    spec = getattr(value, "_known_spec", None)
    if spec is not None:
        return spec
    return Spec(value.dtype, value.shape) if isinstance(value, np.ndarray) else value
