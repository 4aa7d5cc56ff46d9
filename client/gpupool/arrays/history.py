"""What made the arrays of a stream, as far as they are still needed: with it a new worker can make them again.

A value: no sockets, threads or clocks.

    did(batch) ──> entries, each after those it is made of ──entries──> replay.plan
    drop(ids)  ──> an entry that no array and no later entry needs is forgotten
    valued(id) ──> what led to an array is forgotten; its value takes the place (a snapshot)

It is the lineage of Spark's RDDs (Zaharia et al., NSDI 2012) at the grain of an operation. What it keeps is bounded by bytes: an
operation that does not fit is not kept, and what is made of it could not be made again; each such array knows which one it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Protocol

from gpupool.arrays.copies import copied
from gpupool.arrays.mentions import frames_of, held_by
from gpupool.arrays.origin import Origin
from gpupool.arrays.queue import Batch
from gpupool.link import Link
from gpupool_wire.messages import OperationCall, Step
from gpupool_wire.operands import Sent
from gpupool_wire.tensors import Buffer, TensorSpec

#: What an operation takes in memory besides tensors: its message, its origin, its entry.
OPERATION_BYTES: Final = 1024
#: What an operation takes at least to be done again.
OPERATION_NS: Final = 10_000


class Rerun(Protocol):
    """A call of a model whose outputs stayed on the device."""

    @property
    def nbytes(self) -> int:
        """Bytes of the inputs that are kept for it."""

    def again(self, link: Link) -> None:
        """Call the model again, so that `link` has the same outputs under the same ids. Raises what the call raises."""


#: What an entry is that is not kept.
_NOTHING: Final = OperationCall(name="asarray", args=[])


class Loss:
    """Why an array could not be made again: the operation that is not kept."""

    __slots__ = ("origin", "why")

    def __init__(self, origin: Origin, why: str) -> None:
        self.origin = origin
        self.why = why

    def __str__(self) -> str:
        return f"{self.why} ({self.origin})"


class Entry:
    """Something that made arrays: an operation, a value, or a call of a model."""

    __slots__ = (
        *("what", "results", "held", "origin", "frames", "step"),
        *("sources", "users", "nbytes", "took_ns", "reach_ns", "loss"),
    )

    def __init__(self, what: OperationCall | Rerun, results: Sequence[int], held: Sequence[int], origin: Origin) -> None:
        self.what = what
        self.results = results
        self.held = held
        self.origin = origin
        self.frames: list[Buffer] = []
        self.step: Step | None = None
        self.sources: list[Entry] = []
        self.nbytes = OPERATION_BYTES
        self.took_ns = OPERATION_NS
        #: What making it again takes at least, with everything it is made of (along the longest line).
        self.reach_ns = 0
        #: Arrays of the program that it made last, and entries made of it.
        self.users = 0
        self.loss: Loss | None = None

    def __repr__(self) -> str:
        return f"<Entry {self.origin.operation}, {self.nbytes} bytes, {'lost' if self.loss else 'kept'}>"


class History:
    """What made the arrays there are. Not thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = 0
        #: Device time of what was done, and bytes kept, since somebody last looked for snapshots.
        self.since_ns = self.since_bytes = 0
        self.steps: dict[int, Step] = {}
        self._entries: dict[Entry, None] = {}
        self._made_by: dict[int, Entry] = {}

    def __repr__(self) -> str:
        return f"<History, {len(self._made_by)} arrays of {len(self._entries)} operations, {self.nbytes} bytes>"

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Iterator[Entry]:
        """What is kept, in the order in which it was done."""
        return iter(self._entries)

    @property
    def arrays(self) -> Mapping[int, Entry]:
        """The arrays of the program, and what made each."""
        return self._made_by

    # ── what happens ──────

    def did(self, batch: Batch, execute_ns: int) -> None:
        """The worker has done a batch, in that time. Tensors sent along, which are views of the program's memory, are copied."""
        each_ns = max(OPERATION_NS, execute_ns // max(1, len(batch.operations)))
        self.steps.update((step.step_id, step) for step in batch.steps)
        frames = iter(batch.frames)
        for call, origin in zip(batch.operations, batch.origins, strict=True):
            self.drop(call.drops)
            entry = Entry(call, call.results, held_by(call), origin)
            entry.took_ns = each_ns
            if call.name == "step":
                entry.step = self.steps.get(call.args[0])  # type: ignore[arg-type] # an unknown one fails on the worker, too
            self._add(entry, list(islice(frames, frames_of(call))))
        self.drop(batch.drops)
        for step_id in batch.forget_steps:
            self.steps.pop(step_id, None)

    def ran(self, rerun: Rerun, results: Sequence[int], held: Sequence[int], origin: Origin, took_ns: int) -> None:
        """A model was called whose outputs stayed on the device."""
        entry = Entry(rerun, results, held, origin)
        entry.nbytes += rerun.nbytes
        entry.took_ns = max(OPERATION_NS, took_ns)
        self._add(entry, [])

    def valued(self, array_id: int, spec: TensorSpec, frames: Sequence[Buffer]) -> None:
        """The value of an array is known: what led to it is not needed any more."""
        made_by = self._made_by.get(array_id)
        if made_by is None:
            return  # it has died meanwhile
        call = OperationCall(name="asarray", args=[Sent(spec)], results=[array_id])
        if list(made_by.results) != [array_id]:
            self._add(Entry(call, [array_id], [], made_by.origin), frames)
            return
        # In its place, so that what was made of it needs no more than the value, too.
        before, made_by.sources = made_by.sources, []
        self._release(before)
        self.nbytes -= made_by.nbytes
        made_by.what, made_by.held, made_by.step, made_by.loss = call, [], None, None
        made_by.took_ns, made_by.nbytes = OPERATION_NS, OPERATION_BYTES
        self._keep(made_by, frames)

    def drop(self, array_ids: Iterable[int]) -> None:
        """Nobody needs these arrays any more."""
        self._release(self._made_by.pop(array_id) for array_id in array_ids if array_id in self._made_by)

    def lose(self, array_ids: Iterable[int], origin: Origin, why: str) -> None:
        """These arrays could not be made again, whatever made them."""
        for array_id in array_ids:
            entry = Entry(_NOTHING, [array_id], [], origin)
            entry.loss = Loss(origin, why)
            self._add(entry, [])

    def weigh(self) -> None:
        """Work out anew what making each array again takes, now that some need only their value."""
        self.since_ns = self.since_bytes = 0
        for entry in self._entries:
            if entry.loss is None:
                entry.reach_ns = _reach(entry)

    # ── what is kept ──────

    def _add(self, entry: Entry, frames: Sequence[Buffer]) -> None:
        entry.sources = [self._made_by[array_id] for array_id in entry.held if array_id in self._made_by]
        entry.loss = entry.loss or next((source.loss for source in entry.sources if source.loss), None)
        self.since_ns += entry.took_ns
        self._keep(entry, frames)
        for source in entry.sources:
            source.users += 1
        self._entries[entry] = None
        entry.users += len(entry.results)
        replaced = [self._made_by[array_id] for array_id in entry.results if array_id in self._made_by]
        self._made_by.update((array_id, entry) for array_id in entry.results)
        self._release(replaced)

    def _keep(self, entry: Entry, frames: Sequence[Buffer]) -> None:
        """Keep what an entry needs to be done again, if that fits."""
        entry.reach_ns = _reach(entry)
        asked = entry.nbytes + sum(map(len, frames))
        if entry.loss is None and self.nbytes + asked > self.limit_bytes:
            entry.loss = Loss(entry.origin, f"{asked} bytes did not fit into the {self.limit_bytes} that are kept")
        if entry.loss is not None:
            entry.sources, entry.frames, entry.nbytes, entry.what, entry.step = [], [], 0, _NOTHING, None
            return
        entry.frames = copied(frames) if frames else []
        entry.nbytes = asked
        self.nbytes += asked
        self.since_bytes += asked

    def _release(self, entries: Iterable[Entry]) -> None:
        """One user less of each; who has none left is forgotten, and uses nothing any more. A chain may be long: no recursion."""
        waiting = list(entries)
        while waiting:
            entry = waiting.pop()
            entry.users -= 1
            if not entry.users:
                del self._entries[entry]
                self.nbytes -= entry.nbytes
                waiting += entry.sources


def _reach(entry: Entry) -> int:
    return entry.took_ns + max((source.reach_ns for source in entry.sources), default=0)
