"""NumPy's functions called on arrays of a slice: the same operations, under NumPy's names and signatures.

np.add(x, 1) ──__array_ufunc__──> add          np.sum(x, axis=0) ──__array_function__──> sum
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpupool_wire.operations import OPERATIONS, resolve

if TYPE_CHECKING:
    from gpupool.arrays.calling import Caller

_WAY_OUT = "use slice.xp, or fetch the array first: numpy.asarray(x)"
#: What a ufunc's `reduce` is in the standard.
_REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all", "logical_or": "any"}


@functools.cache
def _names() -> dict[Any, str]:
    """Return the table's name of each NumPy function that is an operation."""
    names = {np.copy: "copied"}
    for name in OPERATIONS:
        function = resolve(np, name)
        if (getattr(function, "__module__", "") or "").startswith("numpy"):
            names.setdefault(function, name)
    return names | {np.sort: "sort", np.argsort: "argsort"}


def is_operation(function: object) -> bool:
    """Whether one of NumPy's functions is an operation of the table."""
    try:
        return function in _names()
    except TypeError:  # nothing that can be looked up
        return False


def from_ufunc(caller: Caller, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:  # noqa: ANN401
    """Do a ufunc, or its `reduce`; `out` may be an array of this host. Raises TypeError for anything else."""
    name = _names().get(ufunc)
    out: tuple[Any, ...] = options.pop("out", ())
    if method == "reduce" and name in _REDUCTIONS:
        given = {key: value for key, value in options.items() if value is not None or key == "axis"}
        result = caller.call(_REDUCTIONS[name], inputs[:1], {"axis": 0, **given})
    elif method == "__call__" and name is not None and not options:
        result = caller.call(name, inputs, {})
    else:
        asked = f".{method}" if method != "__call__" else f"(..., {', '.join(options)}=...)" if options else ""
        raise TypeError(f"numpy.{ufunc.__name__}{asked} is not there for arrays on a slice: {_WAY_OUT}")
    if not out:
        return result
    if not all(isinstance(target, np.ndarray) for target in out):
        raise TypeError(f"numpy.{ufunc.__name__}(..., out=x) cannot write to an array on a slice: assign to x[...]")
    np.copyto(out[0], np.asarray(result), casting="same_kind")
    return out[0]


def from_function(caller: Caller, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Do one of NumPy's other functions. Raises TypeError for one that is no operation, and for arguments the standard lacks."""
    known = _ATTRIBUTES.get(function)
    if known is not None and len(args) == 1 and not options:
        return known(args[0])
    name = _names().get(function)
    if name is None:
        raise TypeError(f"numpy.{function.__name__} is not there for arrays on a slice: {_WAY_OUT}")
    bound, named = _canonical(name, function, args, options)
    return caller.call(name, bound, named)


def _canonical(
    name: str, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return NumPy's arguments as the standard's: those by position first, without what NumPy would have assumed anyway."""
    signature = inspect.signature(function)
    given = signature.bind(*args, **options).arguments
    wanted = OPERATIONS[name].signature
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.name not in given:
            continue
        value = given[parameter.name]
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            positional += value
        elif len(positional) < len(wanted.positional) and parameter.name not in wanted.named:
            positional.append(value)
        elif value is not parameter.default and parameter.name not in wanted.named:
            raise TypeError(
                f"numpy.{function.__name__}(..., {parameter.name}=...) is not there for arrays on a slice: {_WAY_OUT}"
            )
        elif parameter.name in wanted.named:
            named[parameter.name] = value
    return positional, named


_ATTRIBUTES: dict[Any, Callable[[Any], Any]] = {
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x: x.size,
}
