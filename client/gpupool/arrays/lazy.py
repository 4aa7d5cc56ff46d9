"""Outputs of a model that stay on the device until a program looks at them, in the place of NumPy's arrays.

y = session.run(...)[0]        y.argmax(axis=2), y[0], y > 0.5: computed on the device; what is small comes home as a NumPy array
                               everything else: the whole value is fetched once, and NumPy goes on with it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from gpupool.arrays.array import RemoteArray
from gpupool.arrays.calling import Caller
from gpupool.arrays.numpy_protocols import is_operation
from gpupool_wire.tensors import Array

#: Results up to this size come home at once, as NumPy arrays: programs loop over them, and each look would be a round trip.
HOME_BYTES: Final = 1024 * 1024


class LazyCaller(Caller):
    """Calls operations for lazy outputs."""

    def call(self, name: str, args: Any, options: Any) -> Any:  # noqa: ANN401 - see Caller
        """As Caller.call; small results are fetched, large ones are lazy in turn."""
        return _settled(super().call(name, args, options))


class LazyOutput(RemoteArray):
    """An output that stays on the device, with the methods of NumPy's arrays. It is not an instance of numpy.ndarray.

    What is not there on the device is done on this host with the fetched value. Writing to it, too, happens on this host.
    """

    __slots__ = ("_host",)
    _host: Array | None

    @classmethod
    def of(cls, array: RemoteArray) -> LazyOutput:
        """Return a lazy output that is this array."""
        lazy = cls._new(LazyCaller(array._caller.stream, array._caller.namespace()), array._handle, array._spec)
        assert isinstance(lazy, LazyOutput)  # noqa: S101 - _new makes instances of its class
        lazy._host = None
        return lazy

    @property
    def is_here(self) -> bool:
        """Whether its value has been fetched."""
        return self._host is not None

    def _read(self) -> Array:
        if self._host is None:
            self._host = super()._read()
        return self._host

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> Array:
        """Fetch it, once."""
        host = self._read()
        return host if dtype is None and not copy else np.array(host, dtype=dtype, copy=bool(copy) or None)

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - an array or a number
        if self._host is not None:
            return self._host[key]
        item = super().__getitem__(key)
        return item[()] if isinstance(item, np.ndarray) and not item.ndim else item

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:  # noqa: ANN401
        try:
            return super().__array_ufunc__(ufunc, method, *inputs, **options)
        except TypeError:
            return getattr(ufunc, method)(*_fetched(inputs), **_fetched(options))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:  # noqa: ANN401
        try:
            return super().__array_function__(function, types, args, options)
        except TypeError:
            return function(*_fetched(args), **_fetched(options))

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401 - as NumPy has it
        # The device's array may be an input of something queued; the program's own copy is what it writes to.
        self._read()[key] = value

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a method or an attribute of ndarray
        function = getattr(np, name, None)
        if self._host is None and function is not None and is_operation(function) and callable(getattr(np.ndarray, name, None)):
            return self._method(name, function)
        return getattr(self._read(), name)

    def _method(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method of ndarray that is done on the device where that knows it with these arguments."""

        def method(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - as NumPy has them
            try:
                return function(self, *_positional(name, args), **options)
            except TypeError:
                return getattr(self._read(), name)(*args, **options)

        return method


def _positional(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a method's arguments as the function of the same name takes them: x.reshape(2, 3) is reshape(x, (2, 3))."""
    return (args,) if name in ("reshape", "transpose") and len(args) > 1 else args


def _fetched(value: Any) -> Any:  # noqa: ANN401 - arguments of any function of NumPy's
    """Return arguments with the values of lazy outputs in their places."""
    if isinstance(value, LazyOutput):
        return np.asarray(value)
    if isinstance(value, dict):
        return {key: _fetched(item) for key, item in value.items()}
    return type(value)(map(_fetched, value)) if type(value) in (tuple, list) else value


def _settled(result: Any) -> Any:  # noqa: ANN401 - an array or several
    if isinstance(result, tuple | list):
        items = [_settled(item) for item in result]
        return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
    if result.nbytes > HOME_BYTES:
        return LazyOutput.of(result)
    return np.asarray(result)
