"""Operations of one process on one slice, on their way to the worker: queued, sent in batches, answered in order.

    program ──do──> Pending ──read, full, or a millisecond──> Operate ══> worker ══> Operated ──> values, failures
                                                                 (one batch at a time: order is kept by waiting for its answer)

A failure is remembered until the array is read; then it is raised there, with the line that called the operation. Where a worker
is lost, the next one makes the arrays again before anything else is done on it (see holding).
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence

from gpupool.array_gone import ArrayGone
from gpupool.arrays.failures import Failures
from gpupool.arrays.handles import Handle, Life, Links
from gpupool.arrays.history import Rerun
from gpupool.arrays.holding import Holding, kept_bytes
from gpupool.arrays.origin import Origin
from gpupool.arrays.queue import Batch
from gpupool.arrays.sender import Sender
from gpupool.forks import renew_after_fork
from gpupool.link import Link
from gpupool_wire.errors import GpupoolError, LeaseLost, LimitExceeded, NotFound, UsageError, WorkerLost
from gpupool_wire.limits import MAX_MESSAGE_BYTES
from gpupool_wire.messages import BrokenArray, Described, Operated, Step
from gpupool_wire.operands import Operand
from gpupool_wire.operations import Spec
from gpupool_wire.tensors import Array, Buffer, dtype_named, unpack_values

#: A batch during which the worker died this often is not sent again: it is likely what kills the worker.
MAX_DEATHS_OF_A_BATCH = 5
#: The largest array that is fetched in one piece.
MAX_FETCH_BYTES = MAX_MESSAGE_BYTES


class ArrayStream:
    """The operations of one process on one slice. Thread-safe."""

    def __init__(self, home: Links, keep_bytes: int | None = None) -> None:
        self.home = home
        self.ids: Iterator[int] = itertools.count(1)
        self.life = Life()
        self._keep_bytes = kept_bytes() if keep_bytes is None else keep_bytes
        self._failures = Failures()
        self.holding = Holding(home, self._failures, self._keep_bytes)
        #: Held while operations are added, and while they are sent: order is that of adding.
        self._adding = threading.Lock()
        self._sending = threading.RLock()
        self._sender = Sender(self)
        #: Whether somebody has been told that the slice has ended.
        self._has_ended = False
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"<ArrayStream of {self.home.slice_id}, {self.life.pending!r}>"

    def renew_in_child(self) -> None:
        """Start afresh in a forked child: arrays of the parent stay the parent's."""
        self._adding = threading.Lock()
        self._sending = threading.RLock()
        self._sender = Sender(self)
        self.life = Life()
        self._failures.clear()
        self.holding = Holding(self.home, self._failures, self._keep_bytes)

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
        if self.is_gone(handle):
            self._raise_gone(handle)

    def is_gone(self, handle: Handle) -> bool:
        """Whether an array is gone, as far as is known here."""
        return handle.life is not self.life or handle.id in self.holding.gone or self._has_ended

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
        answer, frames = self._say(handle.life, fetch=handle)
        (value,) = answer.values
        if isinstance(value, BrokenArray):
            raise self._failures.of(value)
        (array,) = unpack_values([value], frames)
        result: Array = array if array.flags.writeable else array.copy()
        return result

    def describe(self, handle: Handle) -> Spec:
        """Return what an array is whose shape its values decide: a round trip. Raises as `read` does."""
        self.check(handle)
        answer, _ = self._say(handle.life, describe=handle)
        (described,) = answer.described
        if isinstance(described, Described):
            return Spec(dtype_named(described.dtype), tuple(described.shape))
        raise self._failures.of(described)

    def flush(self) -> None:
        """Send what is queued, and wait until the worker has done it. Failures surface where their arrays are read."""
        self._say(self.life)

    def hold_on(self, link: Link, handles: Sequence[int] = ()) -> None:
        """Have the arrays on `link`, on which more are made by other means, out of those with these ids.

        Raises WorkerLost where that link has gone, and for an array that could not be made again.
        """
        with self._sending:
            self.holding.move_to(link)
            self.holding.check(handles)

    def ran(self, rerun: Rerun, results: Sequence[int], held: Sequence[int], origin: Origin, took_ns: int) -> None:
        """A model was called whose outputs stayed; they are given back in time, also where no operation follows."""
        self.holding.ran(rerun, results, held, origin, took_ns)
        self._sender.notice()

    @property
    def has_more(self) -> bool:
        """Whether there is something to do: operations to send, arrays to give back, snapshots to take."""
        holding = self.holding
        return not self.life.pending.is_empty or bool(self.life.dead) or holding.has_news or holding.is_snapshot_due

    def flush_quietly(self) -> None:
        """As `flush`, for a thread that has nobody to tell: whoever reads is told. Snapshots are taken here."""
        with contextlib.suppress(GpupoolError):
            self._say(self.life)
            with self._sending:
                self.holding.absorb()
                self.holding.take_snapshots()

    def _say(self, life: Life, *, fetch: Handle | None = None, describe: Handle | None = None) -> tuple[Operated, list[Buffer]]:
        """Send what is queued and ask for an array. Raises WorkerLost or LeaseLost where no worker can be had for it."""
        with self._sending:
            if life is not self.life:
                raise UsageError(_OF_PARENT)
            with self._adding:
                batch = life.pending.take()
            if batch.is_empty and fetch is None and describe is None:
                return Operated(call_id=0), []
            try:
                return self._send(batch, [fetch.id] if fetch else [], [describe.id] if describe else [])
            except NotFound as error:
                raise self._failures.refusal or error from error
            except _Undone as undone:
                # It may be done yet: once the pool is back, or on a new link where the program was interrupted in mid-transfer.
                with self._adding:
                    life.pending.put_back(undone.batch)
                raise undone.reason from undone.reason.__cause__
            except GpupoolError as error:
                self._has_ended |= isinstance(error, LeaseLost)
                self._failures.refuse(batch, error)
                self.holding.refused(batch, error)
                raise

    def _send(self, batch: Batch, fetch: list[int], describe: list[int]) -> tuple[Operated, list[Buffer]]:
        """Send a batch; where the worker is lost, to the next one, which makes the arrays again first."""
        lost: Link | None = None
        for _ in range(MAX_DEATHS_OF_A_BATCH):
            try:
                link = self.holding.next_link(lost)
            except WorkerLost as error:
                raise _Undone(batch, error) from error
            try:
                self.holding.move_to(link)
                batch = self.holding.sifted(batch)
                self.holding.check([*fetch, *describe])
                return self.holding.exchange(link, batch, fetch, describe)
            except ArrayGone as error:
                raise _Undone(batch, error) from error
            except (WorkerLost, LeaseLost) as error:
                reason, lost = error, link
            except GpupoolError:
                raise
            except BaseException as error:
                # Whether the worker has done it, or will, cannot be told: its arrays are made again on another link.
                self.holding.doubt(link)
                raise _Undone(batch, error) from error
        raise WorkerLost(
            f"the worker was lost {MAX_DEATHS_OF_A_BATCH} times during these operations, so they are not sent again: "
            f"{reason.message}",
            deaths=MAX_DEATHS_OF_A_BATCH,
        )

    def _raise_gone(self, handle: Handle) -> None:
        if handle.life is not self.life:
            raise UsageError(_OF_PARENT, array_id=handle.id)
        self.home.link()  # where the slice has ended, that is the reason
        self._has_ended = False
        self.holding.check([handle.id])


_OF_PARENT = (
    "this array belongs to the parent process: a forked child has a link, and arrays, of its own. Compute or upload it again"
)


class _Undone(Exception):
    """A batch that was not done, as far as is known."""

    def __init__(self, batch: Batch, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.batch = batch
        self.reason = reason
