"""Element types by their three names: ONNX Runtime's ("tensor(float)"), NumPy's ("float32") and TensorProto's number (1)."""

from __future__ import annotations

from typing import Any

import numpy as np

#: ONNX Runtime's word -> (NumPy's name, TensorProto.DataType).
_TYPES = {
    "float": ("float32", 1),
    "uint8": ("uint8", 2),
    "int8": ("int8", 3),
    "uint16": ("uint16", 4),
    "int16": ("int16", 5),
    "int32": ("int32", 6),
    "int64": ("int64", 7),
    "string": ("object", 8),
    "bool": ("bool", 9),
    "float16": ("float16", 10),
    "double": ("float64", 11),
    "uint32": ("uint32", 12),
    "uint64": ("uint64", 13),
}
ELEMENTS = dict(_TYPES.values())
_WORDS = {name: word for word, (name, _) in _TYPES.items()}


#: Types no NumPy list converts to, as ONNX Runtime names them then.
_NO_NUMPY = {"bfloat16": "bfloat16", "int4": "Int4x2", "uint4": "UInt4x2", "int2": "Int2x4", "uint2": "UInt2x4"}


def dtype_of_list(declared: str) -> np.dtype[Any] | None:
    """Return the dtype a list becomes for an input of "tensor(float)" or "optional(tensor(float))"; None where any will do.

    Raises RuntimeError where NumPy has no such type. Eight-bit floats become bytes, which the session then refuses.
    """
    inner = declared.removeprefix("optional(").removeprefix("tensor(").rstrip(")")
    if inner.startswith("float8"):
        return np.dtype(np.uint8)
    if inner in _NO_NUMPY:
        raise RuntimeError(f"No corresponding Numpy type for Tensor Type. {_NO_NUMPY[inner]}")
    entry = _TYPES.get(inner)
    return np.dtype(entry[0]) if entry else None


def dtype_of_element(number: int) -> np.dtype[Any]:
    """Return the NumPy dtype of a TensorProto element type; RuntimeError where NumPy has none."""
    for name, element in _TYPES.values():
        if element == number:
            return np.dtype(name)
    raise RuntimeError(f"element type {number} has no NumPy type, so it cannot travel to a slice")


def type_name(dtype: np.dtype[Any]) -> str:
    """Return ONNX Runtime's name of a NumPy dtype's tensor; RuntimeError where it has none."""
    if dtype.kind in "OUS":
        return "tensor(string)"
    if dtype.name not in _WORDS:
        raise RuntimeError(f"Numpy_type {dtype.num} can't be converted to MLDataType.")
    return f"tensor({_WORDS[dtype.name]})"
