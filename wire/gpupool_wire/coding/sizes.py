"""What coded tensors take, on the wire and in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from gpupool_wire.tensors import RAW, STRING, SeenSpec, SequenceSpec, TensorSpec, ValueSpec, dtype_named


def raw_nbytes(spec: TensorSpec | SeenSpec) -> int:
    """Return what a tensor takes in memory, however it travels; of texts, their payload."""
    if spec.dtype == STRING:
        return spec.nbytes if isinstance(spec, TensorSpec) else 0
    return math.prod(spec.shape) * dtype_named(spec.dtype).itemsize


def coded_nbytes(specs: Iterable[ValueSpec]) -> int:
    """Return what the tensors that travel coded take in memory. Raises RemoteProtocolError for an unknown dtype."""
    return sum(map(raw_nbytes, _coded(specs)))


def saved_nbytes(specs: Iterable[ValueSpec]) -> int:
    """Return how many bytes more the tensors would be on the wire if each travelled as it is."""
    return sum(raw_nbytes(spec) - (spec.nbytes if isinstance(spec, TensorSpec) else 0) for spec in _coded(specs))


def _coded(specs: Iterable[ValueSpec]) -> Iterator[TensorSpec | SeenSpec]:
    """Yield the tensors that travel otherwise than as they are."""
    for spec in specs:
        match spec:
            case TensorSpec() if spec.coding != RAW:
                yield spec
            case SeenSpec():
                yield spec
            case SequenceSpec(items=items):
                yield from _coded(items)
