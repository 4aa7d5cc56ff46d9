"""Operations that wait to be sent, as a value: no sockets, threads or clocks.

    add(operation) ... ──take()──> Batch (operations, their frames, where they were called)

Every operation carries the ids that died before it, so that a long chain holds on the device no more than it needs. Not
thread-safe by itself, except `dead`, to which any thread (and the garbage collector) may append.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

import msgspec

from gpupool.arrays.origin import Origin
from gpupool_wire.limits import MAX_FRAMES
from gpupool_wire.messages import OperationCall, Step
from gpupool_wire.operands import Operand
from gpupool_wire.tensors import Buffer

#: A batch is full at so many operations, or bytes of tensors sent along, or frames. Its operations take the worker some
#: milliseconds, which is many times the round trip it saves; and its bytes are on their way while more is queued.
FULL_OPERATIONS = 1024
FULL_BYTES = 4 * 1024 * 1024
FULL_FRAMES = MAX_FRAMES // 4


class Batch(msgspec.Struct, kw_only=True):
    """Operations that are sent together."""

    operations: list[OperationCall] = []
    origins: list[Origin] = []
    frames: list[Buffer] = []
    steps: list[Step] = []
    forget_steps: list[int] = []
    drops: list[int] = []
    nbytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it should be sent now."""
        return len(self.operations) >= FULL_OPERATIONS or self.nbytes >= FULL_BYTES or len(self.frames) >= FULL_FRAMES

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.operations or self.drops or self.forget_steps)


class Pending:
    """What waits."""

    def __init__(self) -> None:
        #: Arrays and steps that nobody refers to any more.
        self.dead: collections.deque[int] = collections.deque()
        self.dead_steps: collections.deque[int] = collections.deque()
        self._batch = Batch()

    def __repr__(self) -> str:
        return f"<Pending, {len(self._batch.operations)} operations, {len(self.dead)} dead arrays>"

    @property
    def is_empty(self) -> bool:
        """Whether no operation waits."""
        return not self._batch.operations

    @property
    def is_full(self) -> bool:
        """Whether what waits should be sent now."""
        return self._batch.is_full

    def add(
        self,
        name: str,
        args: list[Operand],
        options: dict[str, Operand],
        results: list[int],
        origin: Origin,
        frames: Sequence[Buffer] = (),
    ) -> None:
        """Add an operation."""
        batch = self._batch
        batch.operations.append(OperationCall(name=name, args=args, options=options, results=results, drops=self._dead()))
        batch.origins.append(origin)
        if frames:
            batch.frames += frames
            batch.nbytes += sum(map(len, frames))

    def teach(self, step: Step) -> None:
        """Have a step recorded before the operations that wait."""
        self._batch.steps.append(step)

    def take(self) -> Batch:
        """Return what waits, with the arrays that are dead; from now on nothing waits."""
        drops = self._dead()  # first: whoever dies from here on may be named by an operation that waits
        batch, self._batch = self._batch, Batch()
        batch.drops = drops
        # The worker forgets steps before it does a batch: those it still uses are forgotten with the next one.
        used = {call.args[0] for call in batch.operations if call.name == "step"}
        for step_id in [self.dead_steps.popleft() for _ in range(len(self.dead_steps))]:
            (self.dead_steps if step_id in used else batch.forget_steps).append(step_id)
        return batch

    def put_back(self, batch: Batch) -> None:
        """Have a batch done before what waits, after all: it was taken, and not done."""
        later = self._batch
        batch.operations += later.operations
        batch.origins += later.origins
        batch.frames += later.frames
        batch.steps += later.steps
        batch.nbytes += later.nbytes
        self.dead.extend(batch.drops)
        self.dead_steps.extend(batch.forget_steps)
        batch.drops, batch.forget_steps = [], []
        self._batch = batch

    def _dead(self) -> list[int]:
        return [self.dead.popleft() for _ in range(len(self.dead))]
