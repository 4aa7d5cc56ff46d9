"""An array on a slice's device. It knows its shape and dtype; its value travels only when the program reads it.

x = xp.asarray(...)         y = (x * 2).sum(axis=0)          float(y[0]), numpy.asarray(y)
    └─ sent once                └─ queued, nothing waits        └─ read: one round trip for all that is queued
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gpupool.arrays.handles import Handle
from gpupool.unpicklable import Unpicklable
from gpupool_wire.operations import Spec
from gpupool_wire.tensors import Array

if TYPE_CHECKING:
    from gpupool.arrays.calling import Caller

#: str() shows the values of arrays up to this many elements; it fetches no larger ones.
SHOWN_ELEMENTS = 100
_NUMBERS = (bool, int, float, complex, np.generic, np.ndarray)

Operator = Callable[["RemoteArray", Any], Any]


def _unary(name: str) -> Callable[[RemoteArray], Any]:
    def method(self: RemoteArray) -> Any:  # noqa: ANN401 - a RemoteArray, unless a subclass says otherwise
        return self._caller.call(name, (self,), {})

    return method


def _binary(name: str) -> tuple[Operator, Operator, Operator]:
    """Return x OP y, y OP x and x OP= y."""

    def forward(self: RemoteArray, other: Any) -> Any:  # noqa: ANN401 - whatever stands on the other side
        return self._caller.call(name, (self, other), {}) if isinstance(other, _OPERANDS) else NotImplemented

    def backward(self: RemoteArray, other: Any) -> Any:  # noqa: ANN401 - as above
        return self._caller.call(name, (other, self), {}) if isinstance(other, _OPERANDS) else NotImplemented

    def in_place(self: RemoteArray, other: Any) -> Any:  # noqa: ANN401 - as above
        return self._become(name, forward(self, other)) if isinstance(other, _OPERANDS) else NotImplemented

    return forward, backward, in_place


class RemoteArray(Unpicklable):
    """An array of the Python array API standard, 2024.12, on the device of a slice. Made by the functions of `slice.xp`.

    Its operations are queued; `float`, `int`, `bool`, `complex`, `numpy.asarray` and `str` of a small one read its value. An
    operation that failed raises there. Writing to an array never shows in another one: there are no views of memory.
    """

    __slots__ = ("__weakref__", "_caller", "_handle", "_spec")
    __hash__ = None  # type: ignore[assignment] # as arrays are compared element by element
    __array_priority__ = 1000

    _instead_of_pickling = (
        "an array on a slice cannot be pickled: it is memory of another machine. Pickle numpy.asarray(x), or have the other "
        "process compute it on the slice itself"
    )
    _caller: Caller
    _handle: Handle
    _spec: Spec

    def __init__(self) -> None:
        raise TypeError("arrays on a slice are made by the functions of slice.xp, such as slice.xp.asarray")

    @classmethod
    def _new(cls, caller: Caller, handle: Handle, spec: Spec) -> RemoteArray:
        array = object.__new__(cls)
        array._caller, array._handle, array._spec = caller, handle, spec
        return array

    def __repr__(self) -> str:
        shape = "[?]" if self._spec.shape is None else list(self._spec.shape)
        home = self._caller.stream.home
        gone = ", gone" if self._caller.stream.is_gone(self._handle) else ""
        return f"<RemoteArray {self._spec.dtype}{shape} on {home.slice_id} ({home.device}){gone}>"

    def __str__(self) -> str:
        return str(self._read()) if self.size <= SHOWN_ELEMENTS else repr(self)

    # ── what it is ──────

    @property
    def _known_spec(self) -> Spec:
        """Element type and shape; a round trip where values decide the shape and nobody has asked yet."""
        if self._spec.shape is None:
            self._spec = self._caller.stream.describe(self._handle)
        return self._spec

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
        return self._spec.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape."""
        return self._known_spec.dims

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements it has."""
        return self._known_spec.size

    @property
    def nbytes(self) -> int:
        """How many bytes its elements take."""
        return self._known_spec.nbytes

    @property
    def device(self) -> str:
        """The device it is on, by its name on its node."""
        return self._caller.stream.home.device

    @property
    def T(self) -> RemoteArray:  # noqa: N802 - the standard's name
        """The transpose, of a matrix."""
        if self.ndim != 2:
            raise ValueError(f"x.T is of matrices, and this array has {self.ndim} axes: use permute_dims or x.mT")
        return self.mT

    @property
    def mT(self) -> RemoteArray:  # noqa: N802 - the standard's name
        """The transpose of a stack of matrices."""
        transposed: RemoteArray = self._caller.call("matrix_transpose", (self,), {})
        return transposed

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    # ── its value ──────

    def _read(self) -> Array:
        return self._caller.stream.read(self._handle, self._known_spec)

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> Array:
        """Fetch it. Raises LimitExceeded where it is too large for that, ValueError for copy=False."""
        if copy is False:
            raise ValueError("an array on a slice is always copied when it is fetched")
        array = self._read()
        return array if dtype is None else array.astype(dtype, copy=False)

    def _number(self, kind: str) -> Any:  # noqa: ANN401 - a NumPy scalar
        if self.size != 1 or self.ndim:
            raise TypeError(f"only arrays without axes can be converted to {kind}, not one of shape {list(self.shape)}")
        return self._read()[()]

    def __bool__(self) -> bool:
        return bool(self._number("bool"))

    def __int__(self) -> int:
        return int(self._number("int"))

    def __float__(self) -> float:
        if self.dtype.kind == "c":
            raise TypeError("an array of complex numbers cannot be converted to float: take its real part")
        return float(self._number("float"))

    def __complex__(self) -> complex:
        return complex(self._number("complex"))

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"an index is an integer, not {self.dtype}")
        return int(self._number("an index"))

    def __format__(self, spec: str) -> str:
        return format(self._read()[()], spec) if spec else str(self)

    def item(self) -> Any:  # noqa: ANN401 - a Python number
        """Return the only element as a Python number."""
        return self._read().item()

    def tolist(self) -> Any:  # noqa: ANN401 - nested lists, or a number
        """Return the values as nested lists of Python numbers."""
        return self._read().tolist()

    # ── its items ──────

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - whatever stands in the brackets
        return self._caller.call("getitem", (self, _key(key)), {})

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401 - as above
        self._caller.assign(self, _key(key), value)

    def __iter__(self) -> Iterator[RemoteArray]:
        if not self.shape:
            raise TypeError("iteration over an array without axes")
        return iter(self._caller.call("unstack", (self,), {}))

    def _become(self, name: str, result: RemoteArray) -> RemoteArray:
        """Take the place of `result`, for an operator such as +=."""
        if result.shape != self.shape:
            raise ValueError(f"{name} in place gives shape {list(result.shape)}, which does not fit {list(self.shape)}")
        if result.dtype != self.dtype:
            if not np.can_cast(result.dtype, self.dtype, "same_kind"):
                raise TypeError(f"{name} in place gives {result.dtype}, which cannot be stored as {self.dtype}")
            result = self._caller.call("astype", (result, self.dtype), {})
        self._handle = result._handle
        return self

    # ── operators ──────

    __abs__ = _unary("abs")
    __invert__ = _unary("bitwise_invert")
    __neg__ = _unary("negative")
    __pos__ = _unary("positive")
    __add__, __radd__, __iadd__ = _binary("add")
    __and__, __rand__, __iand__ = _binary("bitwise_and")
    __floordiv__, __rfloordiv__, __ifloordiv__ = _binary("floor_divide")
    __lshift__, __rlshift__, __ilshift__ = _binary("bitwise_left_shift")
    __matmul__, __rmatmul__, __imatmul__ = _binary("matmul")
    __mod__, __rmod__, __imod__ = _binary("remainder")
    __mul__, __rmul__, __imul__ = _binary("multiply")
    __or__, __ror__, __ior__ = _binary("bitwise_or")
    __pow__, __rpow__, __ipow__ = _binary("pow")
    __rshift__, __rrshift__, __irshift__ = _binary("bitwise_right_shift")
    __sub__, __rsub__, __isub__ = _binary("subtract")
    __truediv__, __rtruediv__, __itruediv__ = _binary("divide")
    __xor__, __rxor__, __ixor__ = _binary("bitwise_xor")
    __eq__ = _binary("equal")[0]
    __ge__ = _binary("greater_equal")[0]
    __gt__ = _binary("greater")[0]
    __le__ = _binary("less_equal")[0]
    __lt__ = _binary("less")[0]
    __ne__ = _binary("not_equal")[0]

    # ── the standard's protocols, and NumPy's ──────

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:  # noqa: ANN401 - the slice's Namespace
        return self._caller.namespace(api_version)

    def to_device(self, device: Any, /, *, stream: Any = None) -> RemoteArray:  # noqa: ANN401 - as the standard has it
        """Return it on a device of the slice, of which there is one. Raises ValueError for another."""
        self._caller.check_device(device)
        if stream is not None:
            raise ValueError("a slice's device has no streams that a program could name")
        return self

    def __dlpack__(  # as the standard has it: a capsule of a copy on this host
        self,
        *,
        stream: Any = None,  # noqa: ANN401
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:  # noqa: ANN401
        # What is exported is the fetched value, which is shared with nobody: whether it is copied once more cannot be told.
        return self._read().__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # what is exported is a copy in the memory of this host's CPU

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:  # noqa: ANN401
        from gpupool.arrays.numpy_protocols import from_ufunc

        return from_ufunc(self._caller, ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:  # noqa: ANN401
        from gpupool.arrays.numpy_protocols import from_function

        return from_function(self._caller, function, args, options)

    def __copy__(self) -> RemoteArray:
        copied: RemoteArray = self._caller.call("copied", (self,), {})
        return copied

    def __deepcopy__(self, memo: Any) -> RemoteArray:  # noqa: ANN401 - of no interest
        return self.__copy__()


_OPERANDS = (RemoteArray, *_NUMBERS)


def _key(key: Any) -> Any:  # noqa: ANN401 - whatever stands in the brackets
    """Return an index in which lists are arrays, as NumPy takes them; a tuple stays one."""
    if isinstance(key, tuple):
        return tuple(map(_key, key))
    if isinstance(key, list):
        return np.asarray(key, dtype=None if key else np.intp)
    return np.asarray(key) if isinstance(key, bool) else key
