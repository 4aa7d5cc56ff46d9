"""Rules for work along axes: sorting, joining, reducing, transforming."""

from __future__ import annotations

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from gpupool_wire.operations.rules import Query, from_the_end, nothing, outcome_of, padded, strideless
from gpupool_wire.operations.spec import Outcome, Spec


def along(query: Query, axis: int = -1) -> Outcome:
    """Work along one axis, the last by default, of arrays that have as many axes as the first (sort, diff, fft)."""
    ndim = len(query.arrays()[0].dims)
    axis = query.options.get("axis", axis)
    return outcome_of(query.ask(padded(ndim), axis=from_the_end(axis, ndim)), cut=1)


def cumulated(query: Query) -> Outcome:
    """Cumulative sums and products: only of one axis may it be left open which."""
    if query.options.get("axis") is None and len(query.args[0].dims) != 1:
        return outcome_of(query.ask(strideless))  # raises
    return along(query, query.options.get("axis", -1))


def concatenated(query: Query) -> Outcome:
    """Arrays one after the other along an axis, the first by default, or along their only one once they are flat."""
    specs = query.arrays()
    if not specs:
        query.ask(nothing)  # raises
    if query.options.get("axis", 0) is None:
        return Spec(np.concat([nothing(spec) for spec in specs]).dtype, (sum(spec.size for spec in specs),))
    return along(query, 0)


def stacked(query: Query) -> Outcome:
    """Arrays along a new axis."""
    specs = query.arrays()
    if not specs:
        query.ask(nothing)  # raises
    ndim = len(specs[0].dims)
    axis = from_the_end(query.options.get("axis", 0), ndim + 1)
    return outcome_of(query.ask(padded(ndim), axis=axis), cut=1)


def reduced(query: Query) -> Outcome:
    """Fewer axes: sums, extremes, norms; all axes where none is named."""
    spec: Spec = query.args[0]
    ndim = len(spec.dims)
    axis = query.options.get("axis")
    if axis is not None and not ndim:
        return outcome_of(query.ask(strideless))  # NumPy lets some reductions name the only axis of none
    if axis is not None:
        return outcome_of(query.ask(padded(ndim), axis=from_the_end(axis, ndim)), cut=1)
    flat = np.asarray(query.ask(lambda leaf: np.empty((0, 1), leaf.dtype), axis=-1))
    return Spec(flat.dtype, (1,) * ndim if query.options.get("keepdims") else ())


def transformed(query: Query) -> Outcome:
    """Fourier transforms over several axes: the last ones of `s`, else all."""
    spec: Spec = query.args[0]
    ndim = len(spec.dims)
    lengths, axes = query.options.get("s"), query.options.get("axes")
    axes = tuple(range(-(ndim if lengths is None else len(lengths)), 0)) if axes is None else from_the_end(axes, ndim)
    return outcome_of(query.ask(padded(ndim), axes=axes), cut=1)


def broadcast_along(query: Query) -> Outcome:
    """Vectors along one axis of arrays that are broadcast (cross, vecdot). The standard counts that axis from the end."""
    ndim = max(len(spec.dims) for spec in query.arrays())
    axis = query.options.get("axis", -1)
    shortest = min(len(spec.dims) for spec in query.arrays())
    if axis < 0:
        normalize_axis_index(axis, shortest)
    else:
        axis = from_the_end(axis, ndim)
    return outcome_of(query.ask(padded(ndim), axis=axis), cut=1)


def rolled(query: Query) -> Outcome:
    """The same shape and dtype, along axes that there must be."""
    spec: Spec = query.args[0]
    for name in ("axis", "axes"):
        if (axis := query.options.get(name)) is not None:
            from_the_end(axis, len(spec.dims))
    return Spec(spec.dtype, spec.dims)
