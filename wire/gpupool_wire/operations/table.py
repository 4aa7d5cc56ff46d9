"""The operations there are. One line adds one: its name, its signature as in the standard, and the rule for its result.

    client: namespace.<name>(...) ──bind──> infer ──> queue           agent: name ──this table──> function of its own library

The agent executes nothing that is not in this table, and looks its functions up in its own library by the table's own names.
The table follows the Python array API standard 2024.12 (https://data-apis.org/array-api/2024.12), which NumPy 2 implements under
these names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from gpupool_wire.errors import UsageError
from gpupool_wire.operations import axes, creation, indexing, picking, products, rules
from gpupool_wire.operations.rules import Query, Rule
from gpupool_wire.operations.signature import Signature
from gpupool_wire.operations.spec import Outcome


class Operation:
    """One operation: what it is called, what it takes, what comes out."""

    __slots__ = ("_rule", "is_view", "name", "signature")

    def __init__(self, name: str, parameters: str, rule: Rule, *, is_view: bool = False) -> None:
        self.name = name
        self.signature = Signature(name, parameters)
        self._rule = rule
        #: Its result takes no memory of its own: it is another look at its operand's.
        self.is_view = is_view

    def __repr__(self) -> str:
        return f"<Operation {self.name}({self.signature.text})>"

    def infer(self, args: Iterable[Any], options: dict[str, Any]) -> Outcome:
        """Return what comes of arguments in which a Spec stands for each array; raise what NumPy raises for such arguments."""
        return self._rule(Query(numpy_function(self.name), tuple(args), options))


#: Implemented beside the libraries, in terms any of them has.
OURS: Final[dict[str, Callable[..., Any]]] = {}


def ours(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function that no library has under its name."""
    OURS[function.__name__] = function
    return function


ours(indexing.getitem)
ours(indexing.setitem)


@ours
def copied(x: Any) -> Any:  # noqa: ANN401 - arrays of any library
    """Return a copy in memory of its own."""
    return x.copy()


def _sorted(name: str) -> Callable[..., Any]:
    """Return sort or argsort with the standard's `descending`, which NumPy's own do not have; equal elements keep their order."""

    def function(xp: Any, x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:  # noqa: ANN401
        kind = "stable" if stable else None
        if not descending:
            return getattr(xp, name)(x, axis=axis, kind=kind)
        backwards = xp.flip(getattr(xp, name)(xp.flip(x, axis=axis), axis=axis, kind=kind), axis=axis)
        return backwards if name == "sort" else x.shape[axis] - 1 - backwards

    return function


def resolve(xp: Any, name: str) -> Callable[..., Any]:  # noqa: ANN401 - an array library
    """Return the function of a table's name in a library; raise AttributeError where that has none."""
    if name in OURS:
        return OURS[name]
    if name in ("sort", "argsort"):
        return functools.partial(_sorted(name), xp)
    found: Callable[..., Any] = functools.reduce(getattr, name.split("."), xp)
    return found


@functools.cache
def numpy_function(name: str) -> Callable[..., Any]:
    """Return NumPy's function of a table's name; raise UsageError where this NumPy is too old to have it."""
    try:
        return resolve(np, name)
    except AttributeError as error:
        raise UsageError(f"arrays on a slice need NumPy 2.1 or newer on this host; it has {np.__version__}") from error


def _lines() -> Iterable[Operation]:
    unary = """abs acos acosh asin asinh atan atanh bitwise_invert ceil conj cos cosh exp expm1 floor imag isfinite isinf isnan
        log log1p log2 log10 logical_not negative positive real reciprocal round sign signbit sin sinh square sqrt tan tanh
        trunc"""
    binary = """add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide equal
        floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or logical_xor maximum minimum
        multiply nextafter not_equal pow remainder subtract"""
    yield from (Operation(name, "x, /", rules.elementwise) for name in unary.split())
    yield from (Operation(name, "x1, x2, /", rules.elementwise) for name in binary.split())
    line = Operation
    # elements
    yield line("clip", "x, /, min=None, max=None", rules.elementwise)
    yield line("where", "condition, x1, x2, /", rules.elementwise)
    yield line("astype", "x, dtype, /, *, copy=True", rules.like)
    yield line("asarray", "x, /", rules.like)
    yield line("copied", "x, /", rules.like)
    # items
    yield line("getitem", "x, key, /", indexing.indexed, is_view=True)
    yield line("setitem", "x, key, value, /", indexing.assigned)
    yield line("take", "x, indices, /, *, axis=None", picking.taken)
    yield line("take_along_axis", "x, indices, /, *, axis=-1", picking.taken_along)
    # creation
    yield line("arange", "start, /, stop=None, step=1, *, dtype=None, device=None", creation.ranged)
    yield line("empty", "shape, *, dtype=None, device=None", creation.filled)
    yield line("empty_like", "x, /, *, dtype=None, device=None", rules.like)
    yield line("eye", "n_rows, n_cols=None, /, *, k=0, dtype=None, device=None", creation.identity)
    yield line("full", "shape, fill_value, *, dtype=None, device=None", creation.filled)
    yield line("full_like", "x, /, fill_value, *, dtype=None, device=None", rules.like)
    yield line("linspace", "start, stop, /, num, *, dtype=None, device=None, endpoint=True", creation.spaced)
    yield line("meshgrid", "*arrays, indexing='xy'", rules.gridded)
    yield line("ones", "shape, *, dtype=None, device=None", creation.filled)
    yield line("ones_like", "x, /, *, dtype=None, device=None", rules.like)
    yield line("tril", "x, /, *, k=0", rules.viewed_alike)
    yield line("triu", "x, /, *, k=0", rules.viewed_alike)
    yield line("zeros", "shape, *, dtype=None, device=None", creation.filled)
    yield line("zeros_like", "x, /, *, dtype=None, device=None", rules.like)
    # manipulation
    yield line("broadcast_arrays", "*arrays", rules.viewed, is_view=True)
    yield line("broadcast_to", "x, /, shape", rules.viewed, is_view=True)
    yield line("concat", "arrays, /, *, axis=0", axes.concatenated)
    yield line("expand_dims", "x, /, axis", rules.viewed, is_view=True)
    yield line("flip", "x, /, *, axis=None", rules.viewed, is_view=True)
    yield line("moveaxis", "x, source, destination, /", rules.viewed, is_view=True)
    yield line("permute_dims", "x, /, axes", rules.viewed, is_view=True)
    yield line("repeat", "x, repeats, /, *, axis=None", picking.repeated)
    yield line("reshape", "x, /, shape, *, copy=None", rules.reshaped, is_view=True)
    yield line("roll", "x, /, shift, *, axis=None", axes.rolled)
    yield line("squeeze", "x, /, axis", rules.viewed, is_view=True)
    yield line("stack", "arrays, /, *, axis=0", axes.stacked)
    yield line("tile", "x, repetitions, /", picking.tiled)
    yield line("unstack", "x, /, *, axis=0", rules.viewed, is_view=True)
    # searching, sorting, sets
    yield line("argmax", "x, /, *, axis=None, keepdims=False", axes.reduced)
    yield line("argmin", "x, /, *, axis=None, keepdims=False", axes.reduced)
    yield line("argsort", "x, /, *, axis=-1, descending=False, stable=True", axes.along)
    yield line("count_nonzero", "x, /, *, axis=None, keepdims=False", axes.reduced)
    yield line("nonzero", "x, /", picking.found)
    yield line("searchsorted", "x1, x2, /, *, side='left', sorter=None", picking.searched)
    yield line("sort", "x, /, *, axis=-1, descending=False, stable=True", axes.along)
    yield line("unique_all", "x, /", picking.found)
    yield line("unique_counts", "x, /", picking.found)
    yield line("unique_inverse", "x, /", picking.found)
    yield line("unique_values", "x, /", picking.found)
    # statistics
    yield line("all", "x, /, *, axis=None, keepdims=False", axes.reduced)
    yield line("any", "x, /, *, axis=None, keepdims=False", axes.reduced)
    yield line("cumulative_prod", "x, /, *, axis=None, dtype=None, include_initial=False", axes.cumulated)
    yield line("cumulative_sum", "x, /, *, axis=None, dtype=None, include_initial=False", axes.cumulated)
    yield line("diff", "x, /, *, axis=-1, n=1, prepend=None, append=None", axes.along)
    yield line("max", "x, /, *, axis=None, keepdims=False", axes.reduced)
    yield line("mean", "x, /, *, axis=None, keepdims=False", axes.reduced)
    yield line("min", "x, /, *, axis=None, keepdims=False", axes.reduced)
    yield line("prod", "x, /, *, axis=None, dtype=None, keepdims=False", axes.reduced)
    yield line("std", "x, /, *, axis=None, correction=0.0, keepdims=False", axes.reduced)
    yield line("sum", "x, /, *, axis=None, dtype=None, keepdims=False", axes.reduced)
    yield line("var", "x, /, *, axis=None, correction=0.0, keepdims=False", axes.reduced)
    # products
    yield line("matmul", "x1, x2, /", products.multiplied)
    yield line("matrix_transpose", "x, /", rules.viewed, is_view=True)
    yield line("tensordot", "x1, x2, /, *, axes=2", products.contracted)
    yield line("vecdot", "x1, x2, /, *, axis=-1", axes.broadcast_along)
    # linear algebra
    yield line("linalg.cholesky", "x, /, *, upper=False", products.matrices)
    yield line("linalg.cross", "x1, x2, /, *, axis=-1", axes.broadcast_along)
    yield line("linalg.det", "x, /", products.matrices)
    yield line("linalg.diagonal", "x, /, *, offset=0", rules.viewed, is_view=True)
    yield line("linalg.eigh", "x, /", products.matrices)
    yield line("linalg.eigvalsh", "x, /", products.matrices)
    yield line("linalg.inv", "x, /", products.matrices)
    yield line("linalg.matmul", "x1, x2, /", products.multiplied)
    yield line("linalg.matrix_norm", "x, /, *, keepdims=False, ord='fro'", products.matrices)
    yield line("linalg.matrix_power", "x, n, /", products.matrices)
    yield line("linalg.matrix_rank", "x, /, *, rtol=None", products.ranked)
    yield line("linalg.matrix_transpose", "x, /", rules.viewed, is_view=True)
    yield line("linalg.outer", "x1, x2, /", products.outer)
    yield line("linalg.pinv", "x, /, *, rtol=None", products.pseudoinverse)
    yield line("linalg.qr", "x, /, *, mode='reduced'", products.matrices)
    yield line("linalg.slogdet", "x, /", products.matrices)
    yield line("linalg.solve", "x1, x2, /", products.matrices)
    yield line("linalg.svd", "x, /, *, full_matrices=True", products.matrices)
    yield line("linalg.svdvals", "x, /", products.matrices)
    yield line("linalg.tensordot", "x1, x2, /, *, axes=2", products.contracted)
    yield line("linalg.trace", "x, /, *, offset=0, dtype=None", products.matrices)
    yield line("linalg.vecdot", "x1, x2, /, *, axis=-1", axes.broadcast_along)
    yield line("linalg.vector_norm", "x, /, *, axis=None, keepdims=False, ord=2", axes.reduced)
    # Fourier transforms
    yield from (line(f"fft.{name}", "x, /, *, n=None, axis=-1, norm='backward'", axes.along) for name in _TRANSFORMS)
    yield from (line(f"fft.{name}", "x, /, *, s=None, axes=None, norm='backward'", axes.transformed) for name in _TRANSFORMS_N)
    yield line("fft.fftfreq", "n, /, *, d=1.0, dtype=None, device=None", creation.frequencies)
    yield line("fft.fftshift", "x, /, *, axes=None", axes.rolled)
    yield line("fft.ifftshift", "x, /, *, axes=None", axes.rolled)
    yield line("fft.rfftfreq", "n, /, *, d=1.0, dtype=None, device=None", creation.frequencies)


_TRANSFORMS = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
_TRANSFORMS_N = ("fftn", "ifftn", "rfftn", "irfftn")

OPERATIONS: Final = MappingProxyType({operation.name: operation for operation in _lines()})
