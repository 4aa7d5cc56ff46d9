"""What client and worker say about arrays on the device.

    Operate [steps, operations, fetch] ══> worker          Operated [values, broken] ══> client

Ids of arrays are the client's choice, and mean something on its link only. Operations are done in order; one that fails breaks
its results and whatever is made of them, and nothing else.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gpupool_wire.errors import ErrorInfo
from gpupool_wire.limits import MAX_OPERATIONS
from gpupool_wire.messages.common import Count, Message, Name
from gpupool_wire.messages.timing import Timing
from gpupool_wire.operands import ArrayId, Operand
from gpupool_wire.tensors import Dimension, TensorSpec

Ids = Annotated[list[ArrayId], Meta(max_length=MAX_OPERATIONS)]


class OperationCall(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One operation of the table, or a step ("step") whose first argument is its number."""

    name: Name
    args: list[Operand]
    options: dict[str, Operand] = {}
    results: Ids = []
    #: Arrays nobody needs any more, given back before this operation is done.
    drops: list[ArrayId] = []


class Step(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A recorded step: `inputs` arrays are its ids from 0 on, its operations number their results after them."""

    step_id: ArrayId
    inputs: Annotated[int, Meta(ge=0, le=1024)]
    operations: Annotated[list[OperationCall], Meta(max_length=MAX_OPERATIONS)]
    outputs: Ids


class Operate(Message, frozen=True, kw_only=True):
    """Do these operations, then send those arrays. Tensors that operations name as sent follow as frames, in order."""

    call_id: Count
    operations: Annotated[list[OperationCall], Meta(max_length=MAX_OPERATIONS)] = []
    fetch: Ids = []
    #: Arrays whose shape only the worker knows.
    describe: Ids = []
    steps: list[Step] = []
    forget_steps: Ids = []
    #: Arrays given back after everything else.
    drops: list[ArrayId] = []
    #: Whether each operation is to be measured.
    measure: bool = False
    #: What the caller's link carries, as far as the caller knows: arrays may come coded where that is quicker. 0: they come raw.
    link_bytes_per_s: Count = 0


class Described(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """Element type and shape of an array on the device."""

    dtype: Name
    shape: tuple[Dimension, ...]


class BrokenArray(msgspec.Struct, frozen=True, array_like=True, tag="x"):
    """The array was never made: the operation that should have made `root`, or one it is made of, failed."""

    root: ArrayId
    error: ErrorInfo


class Breakage(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An operation that failed: its place in the batch, the first of its results, and why."""

    index: Count
    root: ArrayId
    error: ErrorInfo


class Operated(Message, frozen=True, kw_only=True):
    """The operations are done. The frames of `values` follow, in the order of `fetch`."""

    call_id: Count
    values: list[TensorSpec | BrokenArray] = []
    described: list[Described | BrokenArray] = []
    broken: list[Breakage] = []
    timing: Timing = Timing()
    #: What each operation took (ns), where that was asked for; where a device works on by itself, the time to hand it over.
    operation_ns: list[Count] = []
