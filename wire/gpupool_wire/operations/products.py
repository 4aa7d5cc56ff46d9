"""Rules for stacks of matrices and products over axes."""

from __future__ import annotations

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from gpupool_wire.operations.rules import Query, outcome_of, padded, strideless
from gpupool_wire.operations.spec import Outcome, Spec


def matrices(query: Query) -> Outcome:
    """Stacks of matrices in the last two axes; a vector (the right side of solve) stays one."""
    specs = query.arrays()
    if not specs or len(specs[0].dims) < 2:
        return outcome_of(query.ask(lambda spec: np.ones(spec.dims, spec.dtype)))  # raises, or is as small as it looks
    ndim = max(len(spec.dims) for spec in specs)
    stand_in = padded(ndim)
    return outcome_of(query.ask(lambda spec: stand_in(spec) if len(spec.dims) > 1 else np.empty(spec.dims, spec.dtype)), cut=1)


def pseudoinverse(query: Query) -> Outcome:
    """pinv; what its tolerance is does not matter here."""
    return matrices(Query(query.function, query.args, {}))


def ranked(query: Query) -> Outcome:
    """matrix_rank: a number for each matrix and tolerance."""
    ranks = matrices(Query(query.function, query.args, {}))
    tolerance = query.options.get("rtol")
    if not isinstance(tolerance, Spec) or not isinstance(ranks, Spec):
        return ranks
    return Spec(ranks.dtype, np.broadcast_shapes(ranks.dims, tolerance.dims))


def multiplied(query: Query) -> Outcome:
    """The matrix product; a vector on the left is a row, on the right a column."""
    left, right = query.args
    if not left.dims or not right.dims:
        return outcome_of(query.ask(strideless))  # raises
    row, column = len(left.dims) == 1, len(right.dims) == 1
    matrix = Spec(left.dtype, (1, *left.dims)) if row else left, Spec(right.dtype, (*right.dims, 1)) if column else right
    product = matrices(Query(query.function, matrix, query.options))
    assert isinstance(product, Spec)  # noqa: S101 - of two arrays there is one product
    shape = product.dims
    shape = (*shape[:-2], *(() if row else shape[-2:-1]), *(() if column else shape[-1:]))
    return Spec(product.dtype, shape)


def contracted(query: Query) -> Outcome:
    """tensordot: the last axes of one array against the first of the other, or those that `axes` pairs."""
    left, right = query.args
    axes = query.options.get("axes", 2)
    if isinstance(axes, tuple | list):
        ours = normalize_axis_tuple(axes[0], len(left.dims))
        theirs = normalize_axis_tuple(axes[1], len(right.dims))
    else:
        ours, theirs = tuple(range(len(left.dims) - axes, len(left.dims))), tuple(range(axes))
        if axes < 0 or min(ours, default=0) < 0 or axes > len(right.dims):
            raise ValueError(f"tensordot over {axes} axes of arrays of {len(left.dims)} and {len(right.dims)}")
    if [left.dims[axis] for axis in ours] != [right.dims[axis] for axis in theirs]:
        raise ValueError(f"tensordot: axes {ours} of {left.dims} do not match axes {theirs} of {right.dims}")
    kept = [size for axis, size in enumerate(left.dims) if axis not in ours]
    kept += [size for axis, size in enumerate(right.dims) if axis not in theirs]
    dtype = np.tensordot(np.empty((0, 0), left.dtype), np.empty((0, 0), right.dtype), 1).dtype
    return Spec(dtype, tuple(kept))


def outer(query: Query) -> Outcome:
    """The outer product of two vectors."""
    left, right = query.args
    dtype = np.asarray(query.ask(lambda spec: np.empty((0,) * len(spec.dims), spec.dtype))).dtype
    return Spec(dtype, (*left.dims, *right.dims))
