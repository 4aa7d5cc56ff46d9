"""A model opened on a slice: its session on the slice's present worker, re-opened wherever the slice goes.

run ──▶ session on the present link? ──no──▶ OpenModel ──missing──▶ PutModel … ──▶ OpenModel
         │ yes                                                                       │
         └──▶ Run ══▶ worker ══▶ Result        worker lost: the slice finds the next link, and the call is repeated
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import numpy as np

from gpupool.array_gone import ArrayGone
from gpupool.feeds import Feeds, Inputs
from gpupool.forks import renew_after_fork
from gpupool.link import Link
from gpupool.model_source import KeptModel
from gpupool.opening_models import open_on, out_of_place
from gpupool.pace import on_worker_ns
from gpupool.protocols import CallTiming
from gpupool_wire.coding.sizes import saved_nbytes
from gpupool_wire.errors import (
    GpupoolError,
    LeaseLost,
    ModelEvicted,
    TensorMissing,
    UsageError,
    WorkerLost,
)
from gpupool_wire.limits import ANSWER_S
from gpupool_wire.messages import (
    CloseSession,
    ModelMeta,
    ModelOptions,
    Result,
    Run,
    SessionOpened,
    TensorInfo,
    Timing,
    WorkerToClient,
)
from gpupool_wire.tensors import Buffer, HeldSpec, Value, ValueSpec, unpack_values

if TYPE_CHECKING:
    from gpupool.arrays import Namespace
    from gpupool.arrays.feeding import Kept
    from gpupool.profiling.watch import Watch

#: A call during which the worker died this often is not sent again: it is likely what kills the worker.
MAX_DEATHS_OF_A_CALL: Final = 5
T = TypeVar("T")


class Links(Protocol):
    """What a model needs of its slice."""

    def link(self, lost: Link | None = None) -> Link:
        """Return an open link other than `lost`; raise LeaseLost once the slice has ended, WorkerLost where none can be had."""

    @property
    def watch(self) -> Watch | None:
        """What sees every exchange, None where nobody profiles."""

    @property
    def xp(self) -> Namespace:
        """The slice's array namespace."""

    def check_room(self, nbytes: int) -> None:
        """Raise OutOfSliceMemory for tensors that an empty slice could not hold."""


class Model:
    """A RemoteModel (see gpupool.protocols). Thread-safe."""

    def __init__(self, links: Links, source: KeptModel, options: ModelOptions, *, may_batch: bool = True) -> None:
        self._links = links
        self._source = source
        self._options = options
        self._may_batch = may_batch
        self._opening = threading.Lock()
        self._session: tuple[Link, SessionOpened] | None = None
        self._closed = False
        self._timings = threading.local()
        self._feeds = Feeds()
        #: Where the finalizer finds the newest session; it must not hold the model itself.
        self._open_at: list[tuple[Link, int]] = []
        weakref.finalize(self, _forget, self._open_at).atexit = False
        renew_after_fork(self)
        self._described = self._with_session(lambda _, session: session)

    def __repr__(self) -> str:
        return f"<Model {self._source!r}, {'closed' if self._closed else 'open'}>"

    def renew_in_child(self) -> None:
        """Forget the parent's session without closing it: the child opens its own."""
        self._opening = threading.Lock()
        self._session = None
        self._open_at.clear()

    @property
    def inputs(self) -> list[TensorInfo]:
        """The model's inputs, as ONNX Runtime's NodeArg shows them."""
        return self._described.inputs

    @property
    def outputs(self) -> list[TensorInfo]:
        """The model's outputs."""
        return self._described.outputs

    @property
    def initializers(self) -> list[TensorInfo]:
        """The model's overridable initializers."""
        return self._described.initializers

    @property
    def meta(self) -> ModelMeta:
        """ONNX Runtime's ModelMetadata."""
        return self._described.meta

    @property
    def providers(self) -> list[str]:
        """The execution providers the session runs on."""
        return self._described.providers

    @property
    def sha256(self) -> str:
        """Hash of the model's file, as lower-case hex."""
        return self._source.sha256

    @property
    def last_timing(self) -> CallTiming | None:
        """The split of the newest finished call of this thread; None before its first."""
        timing: CallTiming | None = getattr(self._timings, "last", None)
        return timing

    def run(
        self,
        feed: Mapping[str, Value],
        outputs: Sequence[str] | None = None,
        run_config: Mapping[str, str] | None = None,
        keep: Collection[str] = (),
    ) -> list[Value]:
        """Return the outputs in order, as fresh writable arrays, those in `keep` as arrays of the slice. See RemoteModel.run."""
        start_ns = time.perf_counter_ns()
        session = self._session
        link = session[0] if session is not None else None
        try:
            # What is kept may have to be made again, for which named tensors would be missing.
            return self._run(start_ns, self._pack(feed, link, may_name=not keep), outputs, run_config, keep)
        except TensorMissing:
            return self._run(start_ns, self._pack(feed, link, may_name=False), outputs, run_config, keep)

    def _pack(self, feed: Mapping[str, Value], link: Link | None, *, may_name: bool) -> tuple[Inputs, list[memoryview]]:
        inputs, frames = self._feeds.pack(feed, lambda: self._links.xp, link, may_name=may_name)
        self._links.check_room(sum(map(len, frames)) + saved_nbytes(spec for _, spec in inputs))
        return inputs, frames

    def _run(
        self,
        start_ns: int,
        packed: tuple[Inputs, list[memoryview]],
        outputs: Sequence[str] | None,
        run_config: Mapping[str, str] | None,
        keep: Collection[str],
    ) -> list[Value]:
        inputs, frames = packed
        wanted = None if outputs is None else list(outputs)
        config = dict(run_config or {})

        def run_on(link: Link, session: SessionOpened) -> list[Value]:
            kept = self._kept(link, inputs, keep)
            question = Run(
                call_id=link.next_call_id(),
                session_id=session.session_id,
                feed=inputs,
                outputs=wanted,
                run_config=config,
                keep=kept.ids if kept else [],
                link_bytes_per_s=int(link.pace.bytes_per_s),
                may_batch=self._may_batch,
            )
            sent_ns = time.perf_counter_ns()
            answer, result_frames = self._ask(link, question, inputs, frames)
            if not isinstance(answer, Result):
                raise out_of_place(question, answer)
            _observe(link, question, frames, answer, result_frames, time.perf_counter_ns() - sent_ns)
            if kept is not None:
                kept.ran(self, question, frames, answer.timing.execute_ns)
            values = [_own(value) for value in unpack_values(answer.outputs, result_frames, kept.array if kept else None)]
            self._timings.last = _split(answer.timing, time.perf_counter_ns() - start_ns)
            return values

        return self._with_session(run_on)

    def _ask(
        self, link: Link, question: Run, inputs: Inputs, frames: Sequence[Buffer]
    ) -> tuple[WorkerToClient, Sequence[Buffer]]:
        watch = self._links.watch
        try:
            if watch is None:
                return link.call(question, frames)
            return watch.call(link, "model", self._source.name, question, frames)
        except TensorMissing:
            self._feeds.missing(link, inputs)
            raise

    def _kept(self, link: Link, inputs: Sequence[tuple[str, ValueSpec]], names: Collection[str]) -> Kept | None:
        if not names and not any(isinstance(spec, HeldSpec) for _, spec in inputs):
            return None
        from gpupool.arrays.feeding import Kept

        return Kept(self._links.xp, link, inputs, names)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def reopener(self) -> Callable[[], Model]:
        """What opens the same model once more; it does not keep this one open."""
        return functools.partial(Model, self._links, self._source, self._options, may_batch=self._may_batch)

    def session_id_on(self, link: Link) -> int:
        """Return the id of its session on `link`, which is opened where there is none."""
        return self._session_on(link).session_id

    def close(self) -> None:
        """Forget the session on the worker. Idempotent; never raises because the worker is gone."""
        with self._opening:
            self._closed = True
            session, self._session = self._session, None
            self._open_at.clear()
        if session is None or not session[0].is_open:
            return
        link, opened = session
        try:
            link.call(CloseSession(call_id=link.next_call_id(), session_id=opened.session_id), timeout_s=ANSWER_S)
        except GpupoolError:
            return  # whatever ended the link ended the session too

    def _with_session(self, act: Callable[[Link, SessionOpened], T]) -> T:
        """Do `act` with the session on the slice's link, again on the next link where the worker is lost in the middle of it."""
        lost: Link | None = None
        for death in range(1, MAX_DEATHS_OF_A_CALL + 1):
            link = self._links.link(lost)
            try:
                return self._act_on(link, act)
            except ArrayGone:
                raise
            except (WorkerLost, LeaseLost) as error:
                # A worker that stops, says the slice is taken back, also where it only moves: the next link, or none, will tell.
                lost = link
                if death == MAX_DEATHS_OF_A_CALL:
                    raise WorkerLost(
                        f"the worker was lost {death} times during this call, so it is not sent again: {error.message}",
                        deaths=death,
                    ) from error
        raise AssertionError("the loop returns or raises")

    def _act_on(self, link: Link, act: Callable[[Link, SessionOpened], T]) -> T:
        """Do `act` with the session on `link`, with a new one where the node has forgotten the model meanwhile."""
        session = self._session_on(link)
        try:
            return act(link, session)
        except ModelEvicted:
            with self._opening:
                if self._session is not None and self._session[1] is session:
                    self._session = None
                    link.forget(session.session_id)
            return act(link, self._session_on(link))

    def _session_on(self, link: Link) -> SessionOpened:
        """Return the session on `link`, opening it where there is none yet; callers that come together open one."""
        present = self._session
        if present is not None and present[0] is link:
            return present[1]
        with self._opening:
            if self._closed:
                raise UsageError("the session was closed: open the model again")
            if self._session is None or self._session[0] is not link:
                opened = open_on(link, self._source, self._options, self._links.watch)
                self._session = link, opened
                self._open_at[:] = [(link, opened.session_id)]
            return self._session[1]


def _forget(open_at: list[tuple[Link, int]]) -> None:
    """Have a collected model's session closed: nobody can run it any more, and its weights count against the slice."""
    for link, session_id in open_at:
        if link.is_open:
            link.forget(session_id)


def _own(value: Value) -> Value:
    """Return a result that its caller may write to, as onnxruntime's are.

    A view of a received frame is as good as a fresh array: nobody else has that memory. What came inside the header is copied.
    """
    if isinstance(value, np.ndarray):
        return value if value.flags.writeable else value.copy()
    return [_own(item) for item in value] if isinstance(value, list) else value


def _observe(
    link: Link, question: Run, frames: Sequence[Buffer], answer: Result, result_frames: Sequence[Buffer], wall_ns: int
) -> None:
    """Tell the link's pace what a call took on its way."""
    nbytes = sum(map(len, frames)) + sum(map(len, result_frames))
    link.pace.observe(nbytes, wall_ns - on_worker_ns(answer.timing), [*(spec for _, spec in question.feed), *answer.outputs])


def _split(timing: Timing, wall_ns: int) -> CallTiming:
    return CallTiming(
        queue_ns=timing.queue_ns,
        throttle_ns=timing.throttle_ns,
        execute_ns=timing.execute_ns,
        transfer_ns=max(0, wall_ns - timing.queue_ns - timing.throttle_ns - timing.execute_ns),
        wall_ns=wall_ns,
        batched=timing.batched,
    )
