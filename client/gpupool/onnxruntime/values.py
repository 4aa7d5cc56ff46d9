"""Values between a program and the wire, converted as ONNX Runtime's binding converts them.

Its rules: an array travels as it is, whatever its type, and the session complains where it does not fit; a list becomes an array
of the input's type (or stays a list for a sequence input); anything else is refused with the binding's own texts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpupool.onnxruntime.tensor_types import dtype_of_list

Array = NDArray[Any]
#: NumPy kinds and sizes ONNX Runtime's binding takes: bool, integers, floats up to double.
_NUMERIC = frozenset("?bBhHiIlLqQefd")


def to_wire(name: str, value: Any, declared: str = "") -> Any:  # noqa: ANN401 - what programs feed
    """Return a value as it travels: an array, a list of arrays or maps, a map, None.

    `declared` is the input's type as the session shows it, empty for an input the session does not have.
    Raises RuntimeError or UnicodeDecodeError with the binding's own text.
    """
    if isinstance(value, np.ndarray):
        return to_tensor(value, declared)
    if value is None or is_remote(value):
        return value
    if isinstance(value, list):
        return _from_list(value, declared)
    if isinstance(value, dict):
        return _checked_map(name, value)
    from gpupool.onnxruntime.wheel import runtime

    if isinstance(value, runtime().OrtValue):
        return from_ort_value(name, value)
    return _from_iterable(name, value)


def is_remote(value: Any) -> bool:  # noqa: ANN401 - what programs feed
    """Whether a value is an array of a slice. Nothing is imported to find out: who has one has imported it."""
    arrays = sys.modules.get("gpupool.arrays.array")
    return arrays is not None and isinstance(value, arrays.RemoteArray)


def to_tensor(array: Array, declared: str = "tensor(string)") -> Array:
    """Return an array as it travels: strings as Python texts, everything else unchanged."""
    if array.dtype.char in _NUMERIC:
        return array if type(array) is np.ndarray else np.asarray(array)
    if array.dtype.kind in "SUOV" and array.dtype.num < 256:
        return _texts(array, "strict" if "string" in declared else "replace")
    raise RuntimeError(f"Numpy_type {array.dtype.num} can't be converted to MLDataType.")


def _texts(array: Array, undecodable: str) -> Array:
    """Return an object array of texts: bytes are UTF-8 and end at the first NUL, objects are what `str` makes of them.

    `undecodable` is "strict", or "replace" for an input that takes no texts and will be refused for that.
    """
    flat = np.empty(array.size, object)
    if array.dtype.kind == "S":
        flat[:] = [item.partition(b"\0")[0].decode(errors=undecodable) for item in array.reshape(-1).tolist()]
    elif array.dtype.kind == "V":
        raw = np.ascontiguousarray(array).reshape(-1).view(f"V{array.dtype.itemsize}").tolist()
        flat[:] = [item.decode(errors=undecodable) for item in raw]
    else:
        flat[:] = [str(item) for item in array.reshape(-1).tolist()]
    return flat.reshape(array.shape)


def _from_list(value: list[Any], declared: str) -> Any:  # noqa: ANN401
    if declared.removeprefix("optional(").startswith("seq("):
        return [_item(item) for item in value]
    try:
        array = np.array(value, dtype_of_list(declared))
    except (ValueError, TypeError, OverflowError):
        raise RuntimeError("Could not create tensor from given input list") from None
    return to_tensor(array)


def _item(item: Any) -> Any:  # noqa: ANN401
    if isinstance(item, np.ndarray):
        return to_tensor(item)
    if isinstance(item, dict):
        return _checked_map("", item)
    raise RuntimeError("CreateSequenceOfTensors: Input is not a tensor")


def _checked_map(name: str, value: dict[Any, Any]) -> dict[Any, Any]:
    if not value:
        raise RuntimeError("Size of dictionary is empty, unable to run the prediction.")
    for item in value.values():
        if isinstance(item, str) or not hasattr(item, "__float__"):
            raise RuntimeError(f"Unexpected value type  {type(item)}, it cannot be linked to C type string for input '{name}'.")
    return value


def _from_iterable(name: str, value: Any) -> list[Any]:  # noqa: ANN401
    try:
        items: Iterator[Any] = iter(value)
    except TypeError:
        raise RuntimeError(f"Unable to handle object of type {type(value)}") from None
    first = next(items, None)
    if isinstance(first, np.ndarray):
        raise RuntimeError(f"Iterable of {type(first)} should be given as array for input '{name}'.")  # noqa: TRY004
    if not isinstance(first, dict):
        message = f"Input must be a list of dictionaries or a single numpy array for input '{name}'."
        raise RuntimeError(message)  # noqa: TRY004 - ONNX Runtime's own class, as above
    return [first, *items]


def from_ort_value(name: str, value: Any) -> Array:  # noqa: ANN401 - the wheel's OrtValue or the stand-in's
    """Return the array of an OrtValue on this host; RuntimeError names what it is where it cannot travel."""
    where = value.device_name()
    if where != "cpu":
        raise RuntimeError(f"the OrtValue for {name!r} is on {where!r}: only values on this host ('cpu') can be sent to a slice")
    if not value.is_tensor():
        raise RuntimeError(f"the OrtValue for {name!r} holds a {value.data_type()}: only tensors can be sent as OrtValue")
    return to_tensor(np.asarray(value.numpy()))
