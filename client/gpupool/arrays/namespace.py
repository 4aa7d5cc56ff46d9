"""`slice.xp`: a namespace of the Python array API standard, 2024.12, whose arrays live on the slice's device.

xp.<name> ──table──> a function that queues the operation        what needs no device (dtypes, result_type, ...) is answered here
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from gpupool.arrays.array import RemoteArray
from gpupool.arrays.calling import Caller, checked_dtype
from gpupool.arrays.handles import Links
from gpupool.arrays.info import ArrayInfo
from gpupool.arrays.stream import ArrayStream
from gpupool.unpicklable import Unpicklable
from gpupool_wire.errors import UsageError
from gpupool_wire.operations import OPERATIONS

API_VERSION: Final = "2024.12"
_INTERNAL = ("asarray", "copied", "getitem", "setitem")
_DTYPES = (
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64", "complex64", "complex128"),
)


class Functions(Unpicklable):
    """The functions of the table under one prefix, made when they are first used."""

    _instead_of_pickling = (
        "slice.xp cannot be pickled: it belongs to this process. A child process joins the slice with slice.environment() and "
        "has a namespace, and arrays, of its own"
    )

    def __init__(self, caller: Caller, name: str, prefix: str) -> None:
        self._caller = caller
        self._prefix = prefix
        self.__name__ = name

    def __repr__(self) -> str:
        return f"<{self.__name__} on {self._caller.stream.home.slice_id}>"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a function
        whole = self._prefix + name
        if whole not in OPERATIONS or whole in _INTERNAL or "." in name:
            raise AttributeError(f"{self.__name__} has no {name!r}: it follows the array API standard {API_VERSION}")
        made = self.__dict__[name] = _function(self._caller, whole, name)
        return made

    def __dir__(self) -> list[str]:
        prefix = self._prefix
        names = [name.removeprefix(prefix) for name in OPERATIONS if name.startswith(prefix) and name not in _INTERNAL]
        return sorted([*super().__dir__(), *(name for name in names if "." not in name)])


def _function(caller: Caller, name: str, short: str) -> Callable[..., Any]:
    def function(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - what its signature says
        return caller.call(name, args, options)

    signature = OPERATIONS[name].signature
    function.__name__ = function.__qualname__ = short
    function.__doc__ = f"{short}({signature.text}), on the device. See the array API standard {API_VERSION}."
    function.__signature__ = signature.described()  # type: ignore[attr-defined]
    return function


class Namespace(Functions):
    """The array namespace of one slice. Thread-safe."""

    __array_api_version__: Final = API_VERSION
    __version__: Final = API_VERSION
    e, inf, nan, pi, newaxis = np.e, np.inf, np.nan, np.pi, None

    def __init__(self, home: Links) -> None:
        if not hasattr(np, "__array_api_version__"):
            raise UsageError(f"slice.xp needs NumPy 2.1 or newer on this host; it has {np.__version__}")
        self.stream = ArrayStream(home)
        caller = Caller(self.stream, self)
        super().__init__(caller, "gpupool.xp", "")
        self.bool = np.bool_
        for name in _DTYPES:
            setattr(self, name, getattr(np, name))
        self.linalg = Functions(caller, "gpupool.xp.linalg", "linalg.")
        self.fft = Functions(caller, "gpupool.xp.fft", "fft.")

    def __array_namespace_info__(self) -> ArrayInfo:
        """Return what the namespace and its device can do."""
        return ArrayInfo(self._caller.stream.home.device)

    # ── arrays from elsewhere ──────

    def asarray(
        self,
        obj: Any,  # noqa: ANN401 - whatever NumPy makes an array of
        /,
        *,
        dtype: Any = None,  # noqa: ANN401 - a dtype
        device: Any = None,  # noqa: ANN401 - the slice's own, by name
        copy: bool | None = None,
    ) -> RemoteArray:
        """Return an array on the device: an upload, unless `obj` is one already. Raises ValueError where copy=False cannot be."""
        self._caller.check_device(device)
        if isinstance(obj, RemoteArray):
            self._caller.check(obj)
            if dtype is not None and checked_dtype(dtype) != obj.dtype:
                if copy is False:
                    raise ValueError(f"an array of {obj.dtype} cannot become {np.dtype(dtype)} without a copy")
                return self._array("astype", obj, checked_dtype(dtype))
            return self._array("copied", obj) if copy else obj
        if copy is False:
            raise ValueError("what is on this host cannot be on the device without a copy")
        return self._caller.upload(np.asarray(obj, dtype=None if dtype is None else checked_dtype(dtype)))

    def from_dlpack(self, x: Any, /, *, device: Any = None, copy: bool | None = None) -> RemoteArray:  # noqa: ANN401
        """Return an array on the device with the value of one that speaks DLPack on this host."""
        return self.asarray(x if isinstance(x, RemoteArray) else np.from_dlpack(x), device=device, copy=copy)

    def _array(self, name: str, *args: Any) -> RemoteArray:  # noqa: ANN401 - as the table has it
        array: RemoteArray = self._caller.call(name, args, {})
        return array

    # ── dtypes ──────

    def astype(self, x: RemoteArray, dtype: Any, /, *, copy: bool = True, device: Any = None) -> RemoteArray:  # noqa: ANN401
        """Return it with another dtype."""
        self._caller.check_device(device)
        wanted = checked_dtype(dtype)
        return x if wanted == x.dtype and not copy else self._array("astype", x, wanted)

    def can_cast(self, from_: Any, to: Any, /) -> bool:  # noqa: ANN401 - dtypes, or an array
        """Whether promotion may turn one dtype into the other."""
        return bool(np.can_cast(_dtype_of(from_), to))

    def finfo(self, type: Any, /) -> Any:  # noqa: A002, ANN401 - the standard's name
        """Return the limits of a floating-point dtype."""
        return np.finfo(_dtype_of(type))

    def iinfo(self, type: Any, /) -> Any:  # noqa: A002, ANN401 - the standard's name
        """Return the limits of an integer dtype."""
        return np.iinfo(_dtype_of(type))

    def isdtype(self, dtype: Any, kind: Any) -> bool:  # noqa: ANN401 - a dtype; kinds
        """Whether a dtype is of a kind."""
        return bool(np.isdtype(dtype, kind))

    def result_type(self, *arrays_and_dtypes: Any) -> np.dtype[Any]:  # noqa: ANN401 - arrays, dtypes, numbers
        """Return the dtype that promotion gives."""
        return np.result_type(*map(_dtype_of, arrays_and_dtypes))


def _dtype_of(thing: Any) -> Any:  # noqa: ANN401 - an array, a dtype, a number
    return thing.dtype if isinstance(thing, RemoteArray) else thing
