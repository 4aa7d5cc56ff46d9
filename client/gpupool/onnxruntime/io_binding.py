"""Inputs and outputs bound to memory of this process.

    bind_* ──> (name, how to read it) ... run_with_iobinding ──> run() ──> (name, where to put it)

Values of this host cross the network once per run, whatever they are bound to. Arrays of the slice do not: bind_cpu_input takes
them, and bind_output(name, "slice") leaves an output there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpupool.onnxruntime.errors import limit
from gpupool.onnxruntime.tensor_types import dtype_of_element
from gpupool.onnxruntime.values import from_ort_value, is_remote, to_tensor
from gpupool.onnxruntime.wheel import runtime

if TYPE_CHECKING:
    from gpupool.onnxruntime.session import InferenceSession

Array = NDArray[Any]
#: The device type of outputs that stay on the slice.
ON_SLICE = "slice"


def _array_at(address: int, element_type: DTypeLike | int, shape: Sequence[int]) -> Array:
    """Return the array of that type and shape at an address of this process."""
    dtype = dtype_of_element(element_type) if isinstance(element_type, int) else np.dtype(element_type)
    count = int(np.prod(shape, dtype=np.int64))
    buffer = (ctypes.c_uint8 * (count * dtype.itemsize)).from_address(address)
    array: Array = np.ndarray(tuple(shape), dtype, memoryview(buffer))
    return array


def _on_host(what: str, name: str, device_type: str) -> None:
    if device_type != "cpu":
        raise limit(
            f"IOBinding.{what}({name!r}, {device_type!r}) with a buffer", "only memory of this host ('cpu') can be reached"
        )


class IOBinding:
    """What a session reads its inputs from and writes its outputs to."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._inputs: dict[str, Callable[[], Array]] = {}
        self._outputs: dict[str, Callable[[Any], None] | None] = {}
        self._results: list[Any] = []
        #: Outputs that stay on the slice.
        self._remote: set[str] = set()

    def bind_cpu_input(self, name: str, arr_on_cpu: Array) -> None:
        """Read an input from an array, as it is at the time of each run: of this host, or of the slice, which does not travel."""
        if is_remote(arr_on_cpu):
            self._check_input(name)
            self._inputs[name] = lambda: arr_on_cpu
            return
        if not isinstance(arr_on_cpu, np.ndarray):
            raise RuntimeError("Unable to create OrtValue from the given python object")  # noqa: TRY004 - ONNX Runtime's class
        self._check_input(name)
        self._inputs[name] = lambda: to_tensor(arr_on_cpu)

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: DTypeLike | int, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        """Read an input from memory of this host at an address."""
        _on_host("bind_input", name, device_type)
        self._check_input(name)
        array = _array_at(buffer_ptr, element_type, shape)
        self._inputs[name] = lambda: array

    def bind_ortvalue_input(self, name: str, ortvalue: Any) -> None:  # noqa: ANN401 - the wheel's OrtValue or the stand-in's
        """Read an input from an OrtValue."""
        self._check_input(name)
        self._inputs[name] = lambda: from_ort_value(name, ortvalue)

    def _check_input(self, name: str) -> None:
        if all(node.name != name for node in self._session.get_inputs()):
            raise RuntimeError(f"Failed to find NodeArg with name: {name} in the def list")

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: DTypeLike | int | None = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Ask for an output; with an address, copy it there. Without one it is kept on this host, or on the slice for "slice"."""
        self._remote.discard(name)
        if device_type == ON_SLICE:
            self._remote.add(name)
        if buffer_ptr is None:
            self._outputs[name] = None
            return
        if element_type is None or shape is None:
            raise ValueError("`element_type` and `shape` are to be provided if pre-allocated memory is provided")
        _on_host("bind_output", name, device_type)
        target = _array_at(buffer_ptr, element_type, shape)
        self._outputs[name] = lambda result: _fill(name, target, result)

    def bind_ortvalue_output(self, name: str, ortvalue: Any) -> None:  # noqa: ANN401
        """Ask for an output and copy it into an OrtValue."""
        target = from_ort_value(name, ortvalue)
        self._outputs[name] = lambda result: _fill(name, target, result)

    def run(self, run_options: Any) -> None:  # noqa: ANN401 - the wheel's RunOptions or the stand-in's
        """Run the session on what is bound; `InferenceSession.run_with_iobinding` is what programs call."""
        if not self._outputs:
            raise RuntimeError("At least one output should be requested.")
        feed = {name: read() for name, read in self._inputs.items()}
        self._results = self._session._execute(list(self._outputs), feed, run_options, self._remote)
        for write, result in zip(self._outputs.values(), self._results, strict=True):
            if write is not None:
                write(result)

    def get_outputs(self) -> list[Any]:
        """Return the outputs of the last run as OrtValues on this host, and as arrays of the slice where they stayed there."""
        return [result if is_remote(result) else runtime().OrtValue.ortvalue_from_numpy(result) for result in self._results]

    def get_outputs_as_ortvaluevector(self) -> object:
        """Refuse: such a vector is memory of ONNX Runtime in this process."""
        raise limit("IOBinding.get_outputs_as_ortvaluevector", "use get_outputs() or copy_outputs_to_cpu()")

    def copy_outputs_to_cpu(self) -> list[Any]:
        """Return the outputs of the last run as arrays."""
        return [np.asarray(result) if is_remote(result) else result for result in self._results]

    def synchronize_inputs(self) -> None:
        """Return at once: inputs are read when the session runs."""

    def synchronize_outputs(self) -> None:
        """Return at once: a run ends when its outputs are here."""

    def clear_binding_inputs(self) -> None:
        """Forget what inputs were bound to."""
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        """Forget what outputs were bound to."""
        self._outputs.clear()
        self._remote.clear()
        self._results = []


def _fill(name: str, target: Array, result: Array) -> None:
    if target.shape != result.shape or target.dtype != result.dtype:
        raise RuntimeError(
            f"output {name!r} is {result.dtype}{list(result.shape)}, "
            f"and is bound to memory for {target.dtype}{list(target.shape)}"
        )
    target[...] = result
