"""What is known of an array without its values: element type and shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Shape = tuple[int, ...]


class Spec:
    """Element type and shape of an array. The shape is None where it depends on values that only the device has."""

    __slots__ = ("dtype", "shape")

    def __init__(self, dtype: np.dtype[Any], shape: Shape | None) -> None:
        self.dtype = dtype
        self.shape = shape

    def __repr__(self) -> str:
        return f"<Spec {self.dtype}{'[?]' if self.shape is None else list(self.shape)}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self.dtype == other.dtype and self.shape == other.shape

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape))

    @property
    def dims(self) -> Shape:
        """The shape, of an array whose shape is known."""
        if self.shape is None:
            raise ValueError("the shape of this array depends on values and is not known yet")
        return self.shape

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.dims)

    @property
    def nbytes(self) -> int:
        """How many bytes its elements take."""
        return self.size * self.dtype.itemsize


#: What an operation gives: one array, or several in the tuple, named tuple or list that NumPy returns them in.
Outcome = Spec | tuple[Spec, ...] | list[Spec]


def specs_of(outcome: Outcome) -> list[Spec]:
    """Return the arrays of an outcome, in order."""
    return [outcome] if isinstance(outcome, Spec) else list(outcome)


def leaves(value: Any) -> list[Spec]:  # noqa: ANN401 - any argument of an operation
    """Return the arrays in an argument."""
    if isinstance(value, Spec):
        return [value]
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in leaves(item)]
    return []


def with_leaves(value: Any, leaf: Callable[[Spec], Any]) -> Any:  # noqa: ANN401 - as above
    """Return an argument with something else in the place of each array."""
    if isinstance(value, Spec):
        return leaf(value)
    if isinstance(value, tuple | list):
        return tuple(with_leaves(item, leaf) for item in value)
    return value


def rebuilt(like: Any, items: list[Any]) -> Any:  # noqa: ANN401 - a tuple, a named tuple of NumPy's or a list
    """Return `items` in a container of the same kind as `like`."""
    if isinstance(like, list):
        return items
    return type(like)(*items) if hasattr(like, "_fields") else tuple(items)
