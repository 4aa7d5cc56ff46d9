"""Arguments of array operations as they travel: ids of arrays on the device, tensors sent along, and plain values.

    add(x, 2.5)  ──>  ["add", [["h", 7], 2.5]]
    x[1:, ...]   ──>  ["getitem", [["h", 7], ["m", [["s", 1, nil, nil], ["d"]]]]]

Plain numbers and texts travel as themselves; everything else is a small tagged array. Nothing here can name code.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from gpupool_wire.errors import RemoteProtocolError
from gpupool_wire.limits import MAX_NAME_CHARS
from gpupool_wire.tensors import TensorSpec, dtype_named, name_of

ArrayId = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]

#: Arguments nest no deeper than a tuple of axes inside a tuple (tensordot); a peer's nesting beyond that is not an operation.
MAX_DEPTH = 4


class Held(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """An array on the device. Inside a recorded step: an input or an earlier result of that step."""

    id: ArrayId


class Sent(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """A tensor whose frames follow, in the order in which operands name them."""

    spec: TensorSpec


class Span(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """A slice of an index."""

    start: int | None
    stop: int | None
    step: int | None


class Dots(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """The ellipsis of an index."""


class DType(msgspec.Struct, frozen=True, array_like=True, tag="y"):
    """An element type, by its wire name."""

    name: Text


class Complex(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """A complex number."""

    real: float
    imag: float


class Whole(msgspec.Struct, frozen=True, array_like=True, tag="w"):
    """An integer beyond 64 bits, in decimal digits. NumPy takes some, if only to say that they are too large."""

    digits: Annotated[str, Meta(pattern=r"^-?[0-9]{1,400}$")]


class Many(msgspec.Struct, frozen=True, array_like=True, tag="m"):
    """A tuple."""

    items: list[Operand]


Operand = None | bool | int | float | Text | Held | Sent | Span | Dots | DType | Complex | Whole | Many
_PLAIN = (int, float, str, type(None))  # bool is an int
_DOTS = Dots()
#: What MessagePack holds as an integer.
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1


def to_operand(value: Any, array: Callable[[Any], Operand]) -> Operand:  # noqa: ANN401 - any argument of an operation
    """Return an argument as it travels; `array` says how whatever is not a plain value does, or raises TypeError."""
    if isinstance(value, _PLAIN) and not isinstance(value, np.generic):
        return Whole(str(value)) if isinstance(value, int) and not _MIN_INT <= value <= _MAX_INT else value
    if isinstance(value, tuple | list):
        return Many([to_operand(item, array) for item in value])
    if isinstance(value, slice):
        return Span(*(None if end is None else operator.index(end) for end in (value.start, value.stop, value.step)))
    if value is Ellipsis:
        return _DOTS
    if isinstance(value, np.dtype):
        return DType(name_of(value))
    if isinstance(value, complex) and not isinstance(value, np.generic):
        return Complex(value.real, value.imag)
    return array(value)


def from_operand(operand: Operand, array: Callable[[Held | Sent], Any], depth: int = 0) -> Any:  # noqa: ANN401 - as above
    """Return the argument an operand stands for; raise RemoteProtocolError where it nests too deeply or has an unknown dtype."""
    match operand:
        case Held() | Sent():
            return array(operand)
        case Many(items=items):
            if depth >= MAX_DEPTH:
                raise RemoteProtocolError(f"an argument nests deeper than {MAX_DEPTH} tuples")
            return tuple(from_operand(item, array, depth + 1) for item in items)
        case Span(start=start, stop=stop, step=step):
            return slice(start, stop, step)
        case Dots():
            return Ellipsis
        case DType(name=name):
            return dtype_named(name)
        case Whole(digits=digits):
            return int(digits)
        case Complex(real=real, imag=imag):
            return complex(real, imag)
    return operand
