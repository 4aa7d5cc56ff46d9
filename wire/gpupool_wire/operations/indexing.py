"""Shapes of x[key]: integers, slices, None, the ellipsis, integer arrays; boolean arrays only the device can count.

Basic keys are NumPy's to judge, on an array without strides. Integer arrays are broadcast together; their axes replace those they
index, in place where they stand side by side (an integer counts as one), else in front (NumPy's "advanced indexing").
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpupool_wire.operations.rules import Query, outcome_of, viewed
from gpupool_wire.operations.spec import Outcome, Shape, Spec


def getitem(x: Any, key: Any) -> Any:  # noqa: ANN401 - arrays of any library
    """Return x[key]."""
    return x[key]


def setitem(x: Any, key: Any, value: Any) -> Any:  # noqa: ANN401 - arrays of any library
    """Assign to x[key], in place; return x."""
    x[key] = value
    return x


def indexed(query: Query) -> Outcome:
    """The rule of getitem."""
    spec, key = query.args
    shape = indexed_shape(spec, key)
    return Spec(spec.dtype, shape)


def assigned(query: Query) -> Outcome:
    """The rule of setitem: the array itself, if the value fits."""
    spec, key, value = query.args
    shape = indexed_shape(spec, key)
    if isinstance(value, Spec):
        if shape is not None and np.broadcast_shapes(value.dims, shape) != shape and value.size != 1:
            raise ValueError(f"could not broadcast input array from shape {value.dims} into shape {shape}")
        if not np.can_cast(value.dtype, spec.dtype, "same_kind"):
            raise TypeError(f"cannot assign {value.dtype} to an array of {spec.dtype}: use astype")
    else:
        np.empty(1, spec.dtype)[:] = value  # raises for a number the dtype cannot hold
    return Spec(spec.dtype, spec.dims)


def indexed_shape(spec: Spec, key: Any) -> Shape | None:  # noqa: ANN401 - whatever stands in the brackets
    """Return the shape of x[key], None where a boolean array decides it; raise IndexError or TypeError as NumPy does."""
    keys = key if isinstance(key, tuple) else (key,)
    arrays = [item for item in keys if isinstance(item, Spec)]
    if not arrays:
        viewed_as = viewed(Query(getitem, (spec, key), {}))
        assert isinstance(viewed_as, Spec)  # noqa: S101 - one array
        return viewed_as.shape
    if any(item.dtype.kind not in "biu" for item in arrays):
        raise IndexError("arrays used as indices must be of integer (or boolean) type")
    if any(item.dtype.kind == "b" for item in arrays):
        _check_masks(spec, keys)
        return None
    return _advanced_shape(spec, keys, np.broadcast_shapes(*(item.dims for item in arrays)))


def _advanced_shape(spec: Spec, keys: tuple[Any, ...], broadcast: Shape) -> Shape:
    # With slices in the place of the arrays NumPy checks the rest, and says what becomes of the other axes.
    basic = tuple(slice(None) if isinstance(item, Spec) else item for item in keys)
    plain = outcome_of(np.ndarray(spec.dims, spec.dtype, bytes(16), strides=(0,) * len(spec.dims))[basic])
    assert isinstance(plain, Spec)  # noqa: S101 - one array
    taken = sum(item is not None and item is not Ellipsis for item in keys)
    left = len(spec.dims) - taken
    position, replaced, numbers = 0, [], []
    for number, item in enumerate(keys):
        is_integer = isinstance(item, int) and not isinstance(item, bool)
        if isinstance(item, Spec) or is_integer:
            numbers.append(number)
            replaced.append((position, isinstance(item, Spec)))
        position += left if item is Ellipsis else 0 if is_integer else 1
    is_together = numbers == list(range(numbers[0], numbers[-1] + 1))
    gone = {at for at, is_array in replaced if is_array}
    front = replaced[0][0] if is_together else 0
    rest = [(at, size) for at, size in enumerate(plain.dims) if at not in gone]
    before = [size for at, size in rest if at < front]
    return (*before, *broadcast, *(size for at, size in rest if at >= front))


def _check_masks(spec: Spec, keys: tuple[Any, ...]) -> None:
    """Raise IndexError where a mask stands over axes of other lengths."""
    taken = sum(len(item.dims) if isinstance(item, Spec) and item.dtype.kind == "b" else item is not None for item in keys)
    taken -= sum(item is Ellipsis for item in keys)
    if taken > len(spec.dims):
        raise IndexError(f"too many indices for array: array is {len(spec.dims)}-dimensional, but {taken} were indexed")
    if isinstance(keys[0], Spec) and keys[0].dtype.kind == "b":
        ours = spec.dims[: len(keys[0].dims)]
        if ours != keys[0].dims and keys[0].size:  # NumPy lets an empty mask stand over an axis of one
            raise IndexError(f"boolean index did not match indexed array: it is {keys[0].dims} over axes of {ours}")
