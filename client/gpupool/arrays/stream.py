"""Operations of one process on one slice, on their way to the worker: queued, sent in batches, answered in order.

    program ──do──> Pending ──read, full, or a millisecond──> Operate ══> worker ══> Operated ──> values, failures
                                                                 (one batch at a time: order is kept by waiting for its answer)

A failure is remembered until the array is read; then it is raised there, with the line that called the operation.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from gpupool.arrays.failures import Failures
from gpupool.arrays.origin import Origin
from gpupool.arrays.queue import Batch, Pending
from gpupool.arrays.sender import Sender
from gpupool.forks import renew_after_fork
from gpupool.link import Link
from gpupool_wire.errors import GpupoolError, LeaseLost, LimitExceeded, NotFound, RemoteProtocolError, UsageError, WorkerLost
from gpupool_wire.limits import MAX_MESSAGE_BYTES
from gpupool_wire.messages import BrokenArray, Described, Operate, Operated, Step
from gpupool_wire.operands import Operand
from gpupool_wire.operations import Spec
from gpupool_wire.tensors import Array, Buffer, dtype_named, unpack_values

#: A batch during which the worker died this often is not sent again: it is likely what kills the worker.
MAX_DEATHS_OF_A_BATCH = 5
#: The largest array that is fetched in one piece.
MAX_FETCH_BYTES = MAX_MESSAGE_BYTES


class Links(Protocol):
    """What a stream needs of its slice."""

    @property
    def slice_id(self) -> str:
        """The slice's id."""

    @property
    def device(self) -> str:
        """The device's name on its node."""

    def link(self, lost: Link | None = None) -> Link:
        """Return an open link other than `lost`; raise LeaseLost once the slice has ended, WorkerLost where none can be had."""


class Stream(Protocol):
    """Where operations go: to a worker, or into a recording."""

    @property
    def home(self) -> Links:
        """The slice."""

    @property
    def ids(self) -> Iterator[int]:
        """Ids for arrays and steps, each given once."""

    @property
    def life(self) -> Life:
        """The present life."""

    def add(
        self,
        name: str,
        args: list[Operand],
        options: dict[str, Operand],
        results: Sequence[Handle],
        origin: Origin,
        frames: Sequence[Buffer] = (),
    ) -> None:
        """Queue an operation."""

    def teach(self, step: Step) -> None:
        """Have a step recorded before the operations that wait."""

    def check(self, handle: Handle) -> None:
        """Raise for an array that is gone."""

    def flush(self) -> None:
        """Have everything done that is queued."""

    def read(self, handle: Handle, spec: Spec) -> Array:
        """Return an array's value."""

    def describe(self, handle: Handle) -> Spec:
        """Return what an array is whose shape its values decide."""


class Handle:
    """An array on the device: its id on one link. When nobody refers to it any more, the worker is told, with the next batch."""

    __slots__ = ("__weakref__", "_dead", "id", "life")

    def __init__(self, stream: Stream) -> None:
        self.id = next(stream.ids)
        self.life = stream.life
        self._dead = self.life.dead

    def __del__(self) -> None:
        self._dead.append(self.id)


class Life:
    """The time between two losses of a stream's arrays: one link, one process. Who dies in an earlier one is of no interest."""

    __slots__ = ("dead", "ended", "has_arrays", "link", "pending")

    def __init__(self) -> None:
        self.pending = Pending()
        self.dead = self.pending.dead
        self.link: Link | None = None
        #: Whether a worker may hold arrays of it.
        self.has_arrays = False
        self.ended: str | None = None


class ArrayStream:
    """The operations of one process on one slice. Thread-safe."""

    def __init__(self, home: Links) -> None:
        self.home = home
        self.ids: Iterator[int] = itertools.count(1)
        self.life = Life()
        self._failures = Failures()
        #: Held while operations are added, and while they are sent: order is that of adding.
        self._adding = threading.Lock()
        self._sending = threading.RLock()
        self._sender = Sender(self)
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"<ArrayStream of {self.home.slice_id}, {self.life.pending!r}>"

    def renew_in_child(self) -> None:
        """Start afresh in a forked child: arrays of the parent stay the parent's."""
        self._adding = threading.Lock()
        self._sending = threading.RLock()
        self._sender = Sender(self)
        self._end_life("it belongs to the parent process: a forked child has a link, and arrays, of its own")

    # ── what goes in ──────

    def add(
        self,
        name: str,
        args: list[Operand],
        options: dict[str, Operand],
        results: Sequence[Handle],
        origin: Origin,
        frames: Sequence[Buffer] = (),
    ) -> None:
        """Queue an operation; send what is queued where that is enough for a batch."""
        ids = [handle.id for handle in results]
        with self._adding:
            for handle in results:
                self.check(handle)
            pending = self.life.pending
            pending.add(name, args, options, ids, origin, frames)
            is_full = pending.is_full
        if is_full:
            self.flush()
        else:
            self._sender.notice()

    def teach(self, step: Step) -> None:
        """Have a step recorded on the worker before the operations that wait."""
        with self._adding:
            self.life.pending.teach(step)

    def check(self, handle: Handle) -> None:
        """Raise WorkerLost or UsageError for an array that is gone, LeaseLost where its slice is."""
        if handle.life is not self.life or handle.life.ended is not None:
            self._raise_gone(handle)

    def attach(self, link: Link) -> None:
        """Arrays are about to be made on `link` by other means; those of another link are gone."""
        with self._sending:
            if self.life.link is not None and self.life.link is not link:
                self._end_life("the worker that held them was lost")
            self.life.link = link
            self.life.has_arrays = True

    # ── what comes out ──────

    def read(self, handle: Handle, spec: Spec) -> Array:
        """Return an array's value; raise what the operation failed with that should have made it.

        Raises LimitExceeded for an array over MAX_FETCH_BYTES, before it travels.
        """
        self.check(handle)
        if spec.nbytes > MAX_FETCH_BYTES:
            raise LimitExceeded(
                f"an array of {spec.nbytes} bytes ({spec.dtype}{list(spec.dims)}) is over the {MAX_FETCH_BYTES} that are fetched "
                "at a time: fetch a slice of it, or reduce it on the device first",
                nbytes=spec.nbytes,
                limit=MAX_FETCH_BYTES,
            )
        answer, frames = self._say(handle.life, fetch=[handle.id])
        (value,) = answer.values
        if isinstance(value, BrokenArray):
            raise self._failures.of(value)
        (array,) = unpack_values([value], frames)
        result: Array = array if array.flags.writeable else array.copy()
        return result

    def describe(self, handle: Handle) -> Spec:
        """Return what an array is whose shape its values decide: a round trip. Raises as `read` does."""
        self.check(handle)
        answer, _ = self._say(handle.life, describe=[handle.id])
        (described,) = answer.described
        if isinstance(described, Described):
            return Spec(dtype_named(described.dtype), tuple(described.shape))
        raise self._failures.of(described)

    def flush(self) -> None:
        """Send what is queued, and wait until the worker has done it. Failures surface where their arrays are read."""
        self._say(self.life)

    @property
    def has_more(self) -> bool:
        """Whether something waits to be sent: operations, or arrays to give back."""
        return not self.life.pending.is_empty or bool(self.life.dead)

    def flush_quietly(self) -> None:
        """As `flush`, for a thread that has nobody to tell: whoever reads is told."""
        with contextlib.suppress(GpupoolError):
            self._say(self.life)

    def _say(self, life: Life, *, fetch: Sequence[int] = (), describe: Sequence[int] = ()) -> tuple[Operated, list[Buffer]]:
        """Send what is queued and ask for arrays. Raises WorkerLost or LeaseLost, with which every array is lost."""
        with self._sending:
            if life is not self.life:
                raise WorkerLost(f"the arrays of slice {self.home.slice_id} are gone: {life.ended}")
            with self._adding:
                batch = life.pending.take()
            if batch.is_empty and not fetch and not describe:
                return Operated(call_id=0), []
            try:
                return self._send(life, batch, list(fetch), list(describe))
            except NotFound as error:
                raise self._failures.refusal or error from error
            except GpupoolError as error:
                self._failures.refuse(batch, error)
                raise

    def _send(self, life: Life, batch: Batch, fetch: list[int], describe: list[int]) -> tuple[Operated, list[Buffer]]:
        """Send a batch. A worker that is lost before it holds any array costs time only: the batch goes to the next one."""
        link = life.link or self.home.link()
        for _ in range(MAX_DEATHS_OF_A_BATCH):
            life.link = link
            try:
                return self._send_on(link, life, batch, fetch, describe)
            except (WorkerLost, LeaseLost) as error:
                reason = error
                if life.has_arrays:
                    break
                link = self.home.link(link)
        self._end_life(f"the worker that held them was lost: {reason.message}")
        self.home.link(link)  # where the slice has ended, that is the reason
        raise reason

    def _send_on(
        self, link: Link, life: Life, batch: Batch, fetch: list[int], describe: list[int]
    ) -> tuple[Operated, list[Buffer]]:
        question = Operate(
            call_id=link.next_call_id(),
            operations=batch.operations,
            fetch=fetch,
            describe=describe,
            steps=batch.steps,
            forget_steps=batch.forget_steps,
            drops=batch.drops,
        )
        answer, frames = link.call(question, batch.frames)
        life.has_arrays = True
        if not isinstance(answer, Operated):
            raise RemoteProtocolError(f"the worker answered Operate with {type(answer).__name__}")
        for breakage in answer.broken:
            self._failures.remember(breakage, batch.origins[breakage.index])
        return answer, frames

    # ── losses ──────

    def _end_life(self, why: str) -> None:
        """Every array is gone; what comes now is on another link."""
        self.life.ended = why
        self.life = Life()
        self._failures.clear()

    def _raise_gone(self, handle: Handle) -> None:
        why = handle.life.ended
        self.home.link()  # where the slice has ended, that is the reason
        kind = UsageError if why is not None and "parent" in why else WorkerLost
        raise kind(f"this array on slice {self.home.slice_id} is gone: {why}. Compute or upload it again", array_id=handle.id)
