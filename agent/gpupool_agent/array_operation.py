"""One array operation: inferred by the table, charged to the slice, then done by the device's library.

args, options ──infer──> specs ──charge──> library.call ──> [(array, charge), ...]
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gpupool_agent.array_store import ArrayStore
from gpupool_agent.core.ledger import Charge, Purpose
from gpupool_agent.devices.library import DeviceArray
from gpupool_wire.errors import ExecutionFailed, GpupoolError, OutOfSliceMemory, RemoteProtocolError
from gpupool_wire.operations import OPERATIONS, Outcome, Spec, specs_of


class Arguments(NamedTuple):
    """What an operation is done with: arrays of the device and plain values."""

    args: list[Any]
    options: dict[str, Any]


class Made(NamedTuple):
    """An array that an operation gave, and what was charged for it ahead."""

    array: DeviceArray
    charge: Charge | None


def perform(store: ArrayStore, name: str, arguments: Arguments, count: int, *, in_place: bool = False) -> list[Made]:
    """Do one operation of the table and return its `count` results.

    `in_place`: setitem may write to its operand, which nothing else looks at; else it writes to a copy. Raises UsageError for a
    name that is not in the table, OutOfSliceMemory, ExecutionFailed with the library's own text; then nothing is charged.
    """
    function = store.library.function(name)  # before anything else: a name that is not in the table ends here
    args, options = arguments
    charges: list[Charge] = []
    try:
        outcome = _inferred(store, name, arguments)
        if not (OPERATIONS[name].is_view or in_place):
            charges = _charged(store, name, outcome)
        if name == "setitem" and not in_place:
            args = [args[0].copy(), *args[1:]]
        result = store.library.call(function, args, options)
        arrays = _arrays(store, name, result, count)
    except Exception as error:
        for charge in charges:
            store.account.give(charge)
        raise _translated(store, name, error) from error
    return [Made(array, charges[number] if charges else None) for number, array in enumerate(arrays)]


def _arrays(store: ArrayStore, name: str, result: Any, count: int) -> list[DeviceArray]:  # noqa: ANN401 - an array or several
    arrays = [store.library.as_array(item) for item in (result if isinstance(result, tuple | list) else [result])]
    if len(arrays) != count:
        raise RemoteProtocolError(f"{name} gives {len(arrays)} arrays, and {count} were named")
    return arrays


def _charged(store: ArrayStore, name: str, outcome: Outcome) -> list[Charge]:
    """Charge results before they are made. One whose length only its values decide is charged when it is there."""
    charges: list[Charge] = []
    try:
        for spec in specs_of(outcome):
            nbytes = 0 if spec.shape is None else spec.nbytes
            charges += [store.account.take(nbytes, Purpose.ARRAYS, name)]
    except OutOfSliceMemory:
        for charge in charges:
            store.account.give(charge)
        raise
    return charges


def _inferred(store: ArrayStore, name: str, arguments: Arguments) -> Outcome:
    kind = store.library.xp.ndarray

    def described(value: Any) -> Any:  # noqa: ANN401 - any argument of an operation
        if isinstance(value, kind):
            return Spec(value.dtype, value.shape)
        return tuple(map(described, value)) if isinstance(value, tuple) else value

    args, options = arguments
    return OPERATIONS[name].infer(list(map(described, args)), {key: described(value) for key, value in options.items()})


def _translated(store: ArrayStore, name: str, error: Exception) -> GpupoolError:
    """Return what the library raised as an error of ours."""
    if isinstance(error, GpupoolError):
        return error
    if isinstance(error, MemoryError):
        return store.account.refusal(0, f"{name} (in memory it takes besides its result)")
    return ExecutionFailed(f"{name}: {error}", python_class=type(error).__name__)
