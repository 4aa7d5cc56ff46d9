"""Rules for arrays made from numbers: their shape is in the arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpupool_wire.operations.rules import Query, nothing
from gpupool_wire.operations.spec import Outcome, Shape, Spec


def shape_of(value: Any) -> Shape:  # noqa: ANN401 - a length or a tuple of them
    """Return a shape as a tuple of ints; raise TypeError or ValueError for anything else."""
    lengths = tuple(value) if isinstance(value, tuple | list) else (value,)
    if any(not isinstance(length, int) for length in lengths):
        raise TypeError(f"a shape is made of ints, not {value!r}")
    if any(length < 0 for length in lengths):
        raise ValueError(f"negative dimensions are not allowed: {value!r}")
    return lengths


def filled(query: Query) -> Outcome:
    """zeros, ones, empty, full: the shape comes first."""
    sample = np.asarray(query.ask(nothing, shape=())).dtype if "fill_value" not in query.options else _fill_dtype(query)
    return Spec(sample, shape_of(query.options["shape"]))


def _fill_dtype(query: Query) -> np.dtype[Any]:
    """Return the dtype of full. The value may be an array without axes, of which one element stands in."""
    return np.asarray(query.ask(lambda spec: np.zeros((), spec.dtype), shape=())).dtype


def ranged(query: Query) -> Outcome:
    """arange: NumPy's own formula for the length, in Python's numbers."""
    start, stop, step = query.args[0], query.options.get("stop"), query.options.get("step", 1)
    if stop is None:
        start, stop = 0, start
    if any(not isinstance(number, int | float) for number in (start, stop, step)):
        raise TypeError(f"arange takes numbers, not {(start, stop, step)!r}")
    length = max(0, int(np.ceil((stop - start) / step)))
    is_float = any(isinstance(number, float) for number in (start, stop, step))
    dtype = query.options.get("dtype") or np.dtype(np.float64 if is_float else np.int64)
    return Spec(dtype, (length,))


def spaced(query: Query) -> Outcome:
    """linspace."""
    dtype = np.asarray(query.ask(nothing, num=1)).dtype
    return Spec(dtype, shape_of(query.options["num"]))


def identity(query: Query) -> Outcome:
    """eye."""
    rows, columns = [*query.args, None][:2]
    dtype = np.asarray(query.function(0, **query.options)).dtype
    return Spec(dtype, shape_of((rows, rows if columns is None else columns)))


def frequencies(query: Query) -> Outcome:
    """fftfreq and rfftfreq."""
    (count,) = query.args
    sample = np.asarray(query.function(1, **query.options))
    return Spec(sample.dtype, shape_of(count // 2 + 1 if query.function is np.fft.rfftfreq else count))
