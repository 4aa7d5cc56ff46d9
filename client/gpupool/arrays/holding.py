"""The arrays of a stream on a worker: on which link they are, what it takes to make them again on another, and the doing of it.

    worker lost ──> next link ──plan of the history──> Operate, model calls, ... ══> the same arrays under the same ids
    worker busy for a second ──> which arrays are worth it? ──> fetched, and their history is forgotten

Used by the thread that holds the stream's lock, but for `ran`.
"""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from gpupool.array_gone import ArrayGone
from gpupool.arrays import snapshots
from gpupool.arrays.failures import Failures
from gpupool.arrays.handles import Links
from gpupool.arrays.history import Entry, History, Loss, Rerun
from gpupool.arrays.mentions import frames_of, held_by
from gpupool.arrays.origin import Origin
from gpupool.arrays.queue import Batch
from gpupool.arrays.replay import lost, plan, rerun_of
from gpupool.link import Link
from gpupool.pace import on_worker_ns
from gpupool_wire.errors import GpupoolError, LeaseLost, RemoteProtocolError, UsageError, WorkerLost
from gpupool_wire.messages import Described, Operate, Operated
from gpupool_wire.operations import Spec
from gpupool_wire.tensors import Buffer, TensorSpec, dtype_named, pack_tensor, unpack_values
from gpupool_wire.units import MIB, parse_memory

#: What a program keeps in its own memory to make its arrays again, where GPUPOOL_RESUME does not say.
KEPT_MIB: Final = 256
VARIABLE: Final = "GPUPOOL_RESUME"


def kept_bytes(environ: Mapping[str, str] = os.environ) -> int:
    """Return how many bytes are kept: GPUPOOL_RESUME (such as "1GiB"; 0 keeps nothing), else KEPT_MIB."""
    given = environ.get(VARIABLE, "").strip()
    if given == "0":
        return 0
    try:
        return MIB * (parse_memory(given) if given else KEPT_MIB)
    except UsageError as error:
        raise UsageError(f"{VARIABLE}: {error.message}") from error


class Holding:
    """Where the arrays are, and how they would be made again."""

    def __init__(self, home: Links, failures: Failures, keep_bytes: int) -> None:
        self._home = home
        self._failures = failures
        self._history = History(keep_bytes)
        self._link: Link | None = None
        self._doubted: Link | None = None
        self._ran: collections.deque[Callable[[], None]] = collections.deque()
        #: Arrays that could not be made again, and why.
        self.gone: dict[int, Entry] = {}

    def __repr__(self) -> str:
        return f"<Holding of {self._home.slice_id}, {self._history!r}>"

    @property
    def limit_bytes(self) -> int:
        """How many bytes are kept at the most."""
        return self._history.limit_bytes

    # ── where they are ──────

    def next_link(self, lost: Link | None) -> Link:
        """Return an open link other than `lost`, and than one that is doubted. Raises as the slice does."""
        if self._doubted is not None:
            doubted, self._doubted = self._doubted, None
            if doubted.is_open:
                return self._home.replace_link(doubted)
        return self._home.link(lost)

    def doubt(self, link: Link) -> None:
        """What the worker holds on `link` cannot be told any more: the arrays have to be made again on another one."""
        self._doubted = link

    def move_to(self, link: Link) -> None:
        """Have the arrays on `link`. Raises WorkerLost where it goes meanwhile."""
        if link is self._link:
            return
        if not link.is_open:
            raise WorkerLost(f"the link to {link.worker} has ended")
        if self._link is not None:
            try:
                self._make_again(link)
            except BaseException as error:
                # An error was told and has its place in the history; where a signal cut in, nobody knows what the worker has.
                if not isinstance(error, Exception):
                    self.doubt(link)
                raise
        self._link = link

    def _make_again(self, link: Link) -> None:
        self.absorb()
        for part in plan(self._history):
            if isinstance(part, Batch):
                self._do_again(link, part)
            else:
                self._run_again(link, part)
        self.gone.update(lost(self._history))

    def check(self, array_ids: Sequence[int]) -> None:
        """Raise ArrayGone for an array that could not be made again."""
        for array_id in array_ids:
            entry = self.gone.get(array_id)
            if entry is not None:
                raise ArrayGone(
                    f"this array on slice {self._home.slice_id} is gone: the worker that held it was lost, and it cannot be made "
                    f"again, as {entry.loss}. Compute or upload it again, or have more kept with {VARIABLE}",
                    array_id=array_id,
                    file=entry.loss.origin.file if entry.loss else "",
                    line=entry.loss.origin.line if entry.loss else 0,
                )

    def sifted(self, batch: Batch) -> Batch:
        """Return what of a batch can be done: not what looks at arrays that are gone, whose results are gone then."""
        if not self.gone or not any(array_id in self.gone for call in batch.operations for array_id in held_by(call)):
            return batch
        rest = Batch(steps=batch.steps, forget_steps=batch.forget_steps, drops=batch.drops)
        first = 0
        for call, origin in zip(batch.operations, batch.origins, strict=True):
            frames, first = batch.frames[first : first + frames_of(call)], first + frames_of(call)
            root = next((self.gone[array_id] for array_id in held_by(call) if array_id in self.gone), None)
            if root is not None:
                self.gone.update((array_id, root) for array_id in call.results)
                rest.drops = [*rest.drops, *call.drops]
                continue
            rest.operations.append(call)
            rest.origins.append(origin)
            rest.frames += frames
        return rest

    def _do_again(self, link: Link, batch: Batch) -> None:
        if batch.operations or batch.steps or batch.drops:
            self._ask(link, batch, [], [])

    def _run_again(self, link: Link, entry: Entry) -> None:
        try:
            rerun_of(entry).again(link)
        except (WorkerLost, LeaseLost):
            raise
        except GpupoolError as error:
            entry.loss = Loss(entry.origin, f"the call of the model failed this time: {error.message}")

    # ── what becomes of them ──────

    def exchange(self, link: Link, batch: Batch, fetch: list[int], describe: list[int]) -> tuple[Operated, list[Buffer]]:
        """Have a batch done and ask for arrays; remember how they would be made again."""
        answer, frames = self._ask(link, batch, fetch, describe)
        self.absorb()
        self._history.did(batch, answer.timing.execute_ns)
        if self.gone:
            for array_id in [*batch.drops, *(dead for call in batch.operations for dead in call.drops)]:
                self.gone.pop(array_id, None)
        return answer, frames

    def refused(self, batch: Batch, error: GpupoolError) -> None:
        """A batch was refused as a whole, and nobody knows what of it was done."""
        for call, origin in zip(batch.operations, batch.origins, strict=True):
            self._history.lose(call.results, origin, f"it was refused: {error.message}")

    @property
    def has_news(self) -> bool:
        """Whether models were called that nobody has taken note of yet."""
        return bool(self._ran)

    def ran(self, rerun: Rerun, results: Sequence[int], held: Sequence[int], origin: Origin, took_ns: int) -> None:
        """A model was called whose outputs stayed. Safe in any thread."""
        self._ran.append(lambda: self._history.ran(rerun, results, held, origin, took_ns))

    def absorb(self) -> None:
        """Take note of the calls of models."""
        while self._ran:
            self._ran.popleft()()

    @property
    def is_snapshot_due(self) -> bool:
        """Whether it is time to look for arrays that are worth a snapshot."""
        return snapshots.are_due(self._history)

    def take_snapshots(self) -> None:
        """Fetch what is worth it, if it is time to look. Raises WorkerLost where the worker goes meanwhile."""
        link = self._link
        if link is None or not snapshots.are_due(self._history):
            return
        wanted = snapshots.candidates(self._history)
        if not wanted:
            return
        answer, _ = self._ask(link, Batch(), [], wanted)
        known = zip(wanted, answer.described, strict=True)
        sizes = {one: Spec(dtype_named(of.dtype), tuple(of.shape)).nbytes for one, of in known if isinstance(of, Described)}
        for array_id in snapshots.chosen(self._history, sizes):
            answer, frames = self._ask(link, Batch(), [array_id], [])
            (spec,) = answer.values
            if isinstance(spec, TensorSpec):
                self._history.valued(array_id, *pack_tensor(unpack_values([spec], frames)[0]))

    def _ask(self, link: Link, batch: Batch, fetch: list[int], describe: list[int]) -> tuple[Operated, list[Buffer]]:
        question = Operate(
            call_id=link.next_call_id(),
            operations=batch.operations,
            fetch=fetch,
            describe=describe,
            steps=batch.steps,
            forget_steps=batch.forget_steps,
            drops=batch.drops,
            link_bytes_per_s=int(link.pace.bytes_per_s),
        )
        sent_ns = time.perf_counter_ns()
        if (watch := self._home.watch) is None:
            answer, frames = link.call(question, batch.frames)
        else:
            question = msgspec.structs.replace(question, measure=True)
            names = [origin.operation for origin in batch.origins]
            answer, frames = watch.call(link, "arrays", "arrays", question, batch.frames, names)
        if not isinstance(answer, Operated):
            raise RemoteProtocolError(f"the worker answered Operate with {type(answer).__name__}")
        specs = [spec for spec in answer.values if isinstance(spec, TensorSpec)]
        nbytes = sum(map(len, batch.frames)) + sum(map(len, frames))
        link.pace.observe(nbytes, time.perf_counter_ns() - sent_ns - on_worker_ns(answer.timing), specs)
        for breakage in answer.broken:
            self._failures.remember(breakage, batch.origins[breakage.index])
        return answer, frames
