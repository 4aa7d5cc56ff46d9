"""What an operation mentions: the arrays of the device that it looks at, and the tensors that travel with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpupool_wire.messages import OperationCall
from gpupool_wire.operands import Held, Many, Operand, Sent
from gpupool_wire.tensors import TensorSpec


def _leaves(operands: Iterable[Operand]) -> Iterator[Operand]:
    for operand in operands:
        if isinstance(operand, Many):
            yield from _leaves(operand.items)
        else:
            yield operand


def held_by(call: OperationCall) -> list[int]:
    """Return the ids of the arrays that an operation looks at."""
    return [operand.id for operand in _leaves((*call.args, *call.options.values())) if isinstance(operand, Held)]


def sent_by(call: OperationCall) -> list[TensorSpec]:
    """Return the tensors that travel with an operation."""
    return [operand.spec for operand in _leaves((*call.args, *call.options.values())) if isinstance(operand, Sent)]


def frames_of(call: OperationCall) -> int:
    """Return how many frames travel with an operation."""
    return sum(spec.frames for spec in sent_by(call))
