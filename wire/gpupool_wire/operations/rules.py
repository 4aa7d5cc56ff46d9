"""Shapes and dtypes of results, inferred from those of the operands with NumPy's own functions and next to no work.

Three tricks make NumPy answer without computing, so that its promotion and its errors are exact:

    elementwise   arrays of length 0 give the dtype (remembered), shapes are broadcast
    batched       an axis of length 0 is put in front: every loop is over nothing, and the other axes come out as they should
    views         arrays whose strides are all 0 have any shape and no memory

What is left (creation, concatenation by number, products of axes) is arithmetic on shapes. A rule takes a `Query` and returns an
Outcome; it raises what NumPy raises (TypeError, ValueError, AxisError, ...). The rules hold for the Python array API standard
2024.12 as NumPy 2 implements it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from gpupool_wire.operations.spec import Outcome, Spec, leaves, rebuilt, with_leaves

#: Remembered dtypes of elementwise operations; programs use a few dozen combinations.
MAX_REMEMBERED = 4096
_ZEROS = bytes(16)


class Query:
    """One operation to infer: NumPy's function, and its arguments with a Spec for each array."""

    __slots__ = ("args", "function", "options")

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]) -> None:
        self.function = function
        self.args = args
        self.options = options

    def arrays(self) -> list[Spec]:
        """Return every array among the arguments."""
        return leaves(self.args) + [leaf for value in self.options.values() for leaf in leaves(value)]

    def ask(self, leaf: Callable[[Spec], Any], **changes: Any) -> Any:  # noqa: ANN401 - whatever the function returns
        """Return what NumPy's function gives for stand-ins; `changes` replace options."""
        args = [with_leaves(value, leaf) for value in self.args]
        options = {name: with_leaves(value, leaf) for name, value in {**self.options, **changes}.items()}
        with np.errstate(all="ignore"):
            return self.function(*args, **options)


Rule = Callable[[Query], Outcome]


def outcome_of(answer: Any, cut: int = 0) -> Outcome:  # noqa: ANN401 - an array or a container of arrays
    """Return the specs of NumPy's answer, without its first `cut` axes."""
    if isinstance(answer, tuple | list):
        several: Outcome = rebuilt(answer, [outcome_of(item, cut) for item in answer])
        return several
    array = np.asanyarray(answer)
    return Spec(array.dtype, array.shape[cut:])


def nothing(spec: Spec) -> Any:  # noqa: ANN401 - an ndarray
    return np.empty(0, spec.dtype)


def strideless(spec: Spec) -> Any:  # noqa: ANN401 - an ndarray
    return np.ndarray(spec.dims, spec.dtype, _ZEROS, strides=(0,) * len(spec.dims))


def from_the_end(axis: Any, ndim: int) -> Any:  # noqa: ANN401 - an axis or several
    """Return axes counted from the end, where an axis put in front does not move them; raise AxisError for one there is not."""
    if isinstance(axis, tuple | list):
        return tuple(number - ndim for number in normalize_axis_tuple(axis, ndim, allow_duplicate=True))
    return normalize_axis_index(axis, ndim) - ndim


def padded(ndim: int) -> Callable[[Spec], Any]:
    """Return stand-ins of no elements: an axis of length 0 in front, and between it and the others as many as are missing."""

    def stand_in(spec: Spec) -> Any:  # noqa: ANN401 - an ndarray
        return np.empty((0, *(1,) * (ndim - len(spec.dims)), *spec.dims), spec.dtype)

    return stand_in


# ── elements, views ──────

_remembered: dict[Any, np.dtype[Any]] = {}


def _key(value: Any) -> Any:  # noqa: ANN401 - any argument
    return value.dtype if isinstance(value, Spec) else (type(value), value)


def elementwise_dtype(query: Query) -> np.dtype[Any]:
    options = query.options
    key = (query.function, *map(_key, query.args), *((name, _key(options[name])) for name in options))
    try:
        known = _remembered.get(key)
    except TypeError:  # an argument that cannot be looked up: NumPy says what it thinks of it
        return np.asarray(query.ask(nothing)).dtype
    if known is None:
        known = np.asarray(query.ask(nothing)).dtype
        if len(_remembered) >= MAX_REMEMBERED:
            _remembered.clear()
        _remembered[key] = known
    return known


def elementwise(query: Query) -> Outcome:
    """Each element by itself; shapes are broadcast."""
    dtype = elementwise_dtype(query)
    shapes = [spec.dims for spec in query.arrays()]
    first = shapes[0] if shapes else ()
    same = all(shape == first for shape in shapes)
    return Spec(dtype, first if same else np.broadcast_shapes(*shapes))


def like(query: Query) -> Outcome:
    """The shape of the first array, whatever else there is."""
    return Spec(elementwise_dtype(query), query.args[0].dims)


def viewed(query: Query) -> Outcome:
    """The same elements in another shape or order."""
    return outcome_of(query.ask(strideless))


def viewed_alike(query: Query) -> Outcome:
    """The same shape and dtype, of matrices."""
    if len(query.args[0].dims) < 2:
        query.ask(strideless)  # raises, or is as small as it looks
    return Spec(query.args[0].dtype, query.args[0].dims)


def reshaped(query: Query) -> Outcome:
    """reshape; a copy asked for is not made of the stand-in."""
    return outcome_of(query.ask(strideless, copy=None))


def gridded(query: Query) -> Outcome:
    """meshgrid, of views here."""
    return outcome_of(query.ask(strideless, copy=False))
