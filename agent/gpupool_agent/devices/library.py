"""The array library of a device: the table's operations as its functions, and arrays on their way in and out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gpupool_agent.alignment import aligned
from gpupool_wire.errors import UsageError
from gpupool_wire.operations import OPERATIONS, Spec, resolve
from gpupool_wire.tensors import Array

#: As NumPy's own arrays begin: sums are vectorized from the first aligned element on, so the last bit of a result depends on it.
ALIGNED_BYTES = 16
#: An array of whichever library the device has.
DeviceArray = Any


class ArrayLibrary:
    """NumPy, or a library that speaks as NumPy does. Names that it has under another name are in `aliases`."""

    #: Names of the table that the library has under another one.
    aliases: dict[str, str] = {}  # noqa: RUF012 - constant

    def __init__(self, xp: Any) -> None:  # noqa: ANN401 - a module
        self.xp = xp
        self._functions: dict[str, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.xp.__name__}>"

    def function(self, name: str) -> Callable[..., Any]:
        """Return the function of an operation of the table; raise UsageError where the table or the library has none."""
        found = self._functions.get(name)
        if found is None:
            if name not in OPERATIONS:
                raise UsageError(f"there is no array operation {name[:40]!r}")
            try:
                found = resolve(self.xp, self.aliases.get(name, name))
            except AttributeError as error:
                raise UsageError(f"{self.xp.__name__} on this device has no {name}: compute it on the host") from error
            self._functions[name] = found
        return found

    def call(self, function: Callable[..., Any], args: list[Any], options: dict[str, Any]) -> Any:  # noqa: ANN401 - its result
        """Call a function of this library. Floating-point exceptions are values (inf, nan) here: nobody would read a warning."""
        with np.errstate(all="ignore"):
            return function(*args, **options)

    def as_array(self, value: Any) -> DeviceArray:  # noqa: ANN401 - an array, or a scalar that a reduction returned
        """Return a result as an array of the library."""
        return value if isinstance(value, self.xp.ndarray) else self.xp.asarray(value)

    def from_host(self, array: Array) -> DeviceArray:
        """Return a tensor that arrived, on the device."""
        return aligned(array, ALIGNED_BYTES)

    def to_host(self, array: DeviceArray) -> Array:
        """Return an array of the device as it travels."""
        host: Array = array
        return host

    def owner(self, array: DeviceArray) -> DeviceArray:
        """Return the array whose memory this one looks at: itself, or the last one of its bases."""
        while isinstance(array.base, self.xp.ndarray):
            array = array.base
        return array

    def writable(self, array: DeviceArray) -> bool:
        """Whether the array may be written to."""
        return bool(array.flags.writeable)


def spec_of(array: DeviceArray) -> Spec:
    """Return element type and shape of an array."""
    return Spec(array.dtype, array.shape)


@functools.cache
def numpy_library() -> ArrayLibrary:
    """Return NumPy as a device's library; raise UsageError where it is too old for the standard."""
    if not hasattr(np, "__array_api_version__"):
        raise UsageError(f"arrays need NumPy 2.1 or newer on the node; it has {np.__version__}")
    return ArrayLibrary(np)
