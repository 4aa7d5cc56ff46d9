"""Rules for taking, repeating and finding elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from gpupool_wire.operations.rules import Query, outcome_of
from gpupool_wire.operations.spec import Outcome, Spec, rebuilt


def tiled(query: Query) -> Outcome:
    """tile."""
    spec, repetitions = query.args
    repetitions = tuple(repetitions) if isinstance(repetitions, tuple | list) else (repetitions,)
    ndim = max(len(repetitions), len(spec.dims))
    counts = (*(1,) * (ndim - len(repetitions)), *repetitions)
    sizes = (*(1,) * (ndim - len(spec.dims)), *spec.dims)
    return Spec(spec.dtype, tuple(count * size for count, size in zip(counts, sizes, strict=True)))


def repeated(query: Query) -> Outcome:
    """repeat. Where the counts are an array, only the device knows what they add up to."""
    spec, count = query.args
    axis = query.options.get("axis")
    if isinstance(count, Spec):
        return Spec(spec.dtype, None)
    if axis is None:
        return Spec(spec.dtype, (spec.size * count,))
    number = normalize_axis_index(axis, len(spec.dims))
    return Spec(spec.dtype, tuple(size * (count if at == number else 1) for at, size in enumerate(spec.dims)))


def taken(query: Query) -> Outcome:
    """take."""
    spec, indices = query.args
    axis = query.options.get("axis")
    if axis is None:
        return Spec(spec.dtype, indices.dims)
    number = normalize_axis_index(axis, len(spec.dims))
    return Spec(spec.dtype, (*spec.dims[:number], *indices.dims, *spec.dims[number + 1 :]))


def taken_along(query: Query) -> Outcome:
    """take_along_axis."""
    spec, indices = query.args
    number = normalize_axis_index(query.options.get("axis", -1), len(spec.dims))
    if len(spec.dims) != len(indices.dims):
        raise ValueError(f"indices of {len(indices.dims)} axes for an array of {len(spec.dims)}")
    ours = [1 if at == number else size for at, size in enumerate(spec.dims)]
    return Spec(spec.dtype, np.broadcast_shapes(tuple(ours), indices.dims))


def searched(query: Query) -> Outcome:
    """searchsorted: a position for each element of the second array."""
    return Spec(np.dtype(np.intp), query.args[1].dims)


def found(query: Query) -> Outcome:
    """What is found depends on values (nonzero, unique_*): how many arrays of which dtypes is known, their lengths are not."""
    spec: Spec = query.args[0]
    answer = query.ask(lambda leaf: np.zeros((1,) * len(spec.dims), leaf.dtype))
    known = outcome_of(answer)
    if isinstance(known, Spec):
        return Spec(known.dtype, None)
    # The inverse of unique_* has the shape of what went in.
    names: Sequence[str] = getattr(answer, "_fields", ("",) * len(known))
    shapes = [spec.shape if name == "inverse_indices" else None for name in names]
    several: Outcome = rebuilt(answer, [Spec(part.dtype, shape) for part, shape in zip(known, shapes, strict=True)])
    return several
