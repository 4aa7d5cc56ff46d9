"""A slice as a program holds it: models are opened on it, and it finds its way when its worker or agent is lost.

link() ──open?──▶ the present link
   │ lost           door again ──silent or refused──▶ locator: where is it now? ──▶ that door … until the deadline
   └──────────────▶ ──opened──▶ the next link                    └── ended ──▶ LeaseLost, for good
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gpupool.control import RETRY_S, Control
from gpupool.forks import renew_after_fork
from gpupool.grant import Grant
from gpupool.link import Link, Traffic
from gpupool.locator import InvitationFile, Locator
from gpupool.model_source import keep_model
from gpupool.models import Model
from gpupool.protocols import ModelSource
from gpupool_wire.errors import (
    Conflict,
    GpupoolError,
    LeaseLost,
    NotAuthorized,
    NotFound,
    PoolUnreachable,
    RemoteProtocolError,
    UsageError,
    WorkerLost,
)
from gpupool_wire.home import state_home
from gpupool_wire.limits import ANSWER_S
from gpupool_wire.messages import AskUsage, ModelOptions, Usage
from gpupool_wire.units import Policy, format_memory, parse_compute, parse_memory

if TYPE_CHECKING:
    from gpupool.onnxruntime import InferenceSession

_log = logging.getLogger(__name__)

#: How long a call waits for its slice to be reachable again: a node is noticed as lost in 2.5 s and a worker starts in a few.
FAILOVER_S: Final = 30.0


class SliceUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a slice uses, and has used since it was granted."""

    compute_pct: int
    policy: Policy
    memory_limit_bytes: int
    memory_used_bytes: int
    device_ns: int
    throttled_ns: int
    calls: int
    #: Achieved share of the last ten seconds, in thousandths of a per cent.
    achieved_millipct: int
    sessions: int


class Slice:
    """A slice of a device. A context manager: released at its end, and at the end of the program. Thread-safe.

    A forked child may use it as a guest, on a link of its own; the slice stays its parent's.
    """

    def __init__(
        self, grant: Grant, locator: Locator, *, control: Control | None, holder: bool, failover_s: float = FAILOVER_S
    ) -> None:
        self._grant = grant
        self._locator = locator
        self._control = control
        self._failover_s = failover_s
        self._holder_pid = os.getpid() if holder else None
        self._finding = threading.RLock()
        self._link: Link | None = None
        self._missed_since: float | None = None
        self._ended: GpupoolError | None = None
        self._invitation: InvitationFile | None = None
        self._traffic = Traffic()
        renew_after_fork(self)
        _live.add(self)

    def __repr__(self) -> str:
        grant = self._grant
        role = "holder" if self.is_holder else "guest"
        state = "ended" if self._ended else "linked" if self._link is not None and self._link.is_open else "idle"
        return (
            f"<Slice {grant.slice_id}: {grant.compute_pct} % and {format_memory(grant.memory_mib)} of {grant.kind} "
            f"{grant.node}/{grant.device} ({grant.model}), {grant.policy.value}, {role}, {state}>"
        )

    def __enter__(self) -> Slice:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def renew_in_child(self) -> None:
        """Become a guest in a forked child: the link, and the slice, are the parent's."""
        self._finding = threading.RLock()
        self._link = None

    # ── what it is ──────

    @property
    def grant(self) -> Grant:
        """The slice as granted, resized and moved last."""
        return self._grant

    @property
    def slice_id(self) -> str:
        """The slice's id."""
        return self._grant.slice_id

    @property
    def node(self) -> str:
        """The node the slice is on."""
        return self._grant.node

    @property
    def device(self) -> str:
        """The device's name on its node."""
        return self._grant.device

    @property
    def kind(self) -> str:
        """What the device is: "cuda", "cpu" or "null"."""
        return self._grant.kind

    @property
    def compute_pct(self) -> int:
        """Share of the device's time, in whole per cent."""
        return self._grant.compute_pct

    @property
    def memory_mib(self) -> int:
        """Memory limit, in MiB."""
        return self._grant.memory_mib

    @property
    def policy(self) -> Policy:
        """Whether it may use device time that nobody else wants."""
        return self._grant.policy

    @property
    def is_holder(self) -> bool:
        """Whether the slice ends with this process."""
        return self._holder_pid == os.getpid()

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have been released, to have expired or to have been taken back."""
        return self._ended is not None

    @property
    def traffic(self) -> Traffic:
        """What this process has moved for the slice so far."""
        total = Traffic()
        for part in (self._traffic, self._link.traffic if self._link is not None else Traffic()):
            total.add(part)
        return total

    @property
    def providers(self) -> list[str]:
        """Execution providers of the device, best first. Opens the link where it is not open yet."""
        return list(self.link().joined.providers)

    # ── what can be done with it ──────

    def open_model(self, model: ModelSource, options: ModelOptions | None = None) -> Model:
        """Open a model from its bytes or path; its bytes are uploaded only where the worker does not have them.

        Raises ModelRejected with ONNX Runtime's text, OutOfSliceMemory, LeaseLost, LimitExceeded, and the OSError of an
        unreadable file.
        """
        return Model(self, keep_model(model), options or ModelOptions())

    def inference_session(
        self,
        model: str | bytes | os.PathLike[str],
        sess_options: Any = None,  # noqa: ANN401 - onnxruntime's own, or its stand-in
        providers: Any = None,  # noqa: ANN401 - names, or pairs of name and options, as onnxruntime takes them
        provider_options: Any = None,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> InferenceSession:
        """Return a session with the surface of onnxruntime.InferenceSession that runs on this slice."""
        from gpupool.onnxruntime import InferenceSession

        return InferenceSession(model, sess_options, providers, provider_options, gpupool_slice=self, **kwargs)

    def usage(self) -> SliceUsage:
        """Return what the slice uses now and has used, as its worker measures it."""
        link = self.link()
        try:
            answer, _ = link.call(AskUsage(call_id=link.next_call_id()), timeout_s=ANSWER_S)
        except WorkerLost:
            link = self.link(link)
            answer, _ = link.call(AskUsage(call_id=link.next_call_id()), timeout_s=ANSWER_S)
        if not isinstance(answer, Usage):
            raise RemoteProtocolError(f"the worker answered AskUsage with {type(answer).__name__}")
        return SliceUsage(**{name: getattr(answer, name) for name in SliceUsage.__struct_fields__})

    def resize(self, compute: int | str | None = None, memory: int | str | None = None) -> None:
        """Change the slice's size while it runs: compute in per cent, memory in MiB or as "2GiB"; None leaves it.

        Raises SliceRefused with the numbers compared, UsageError for a size that cannot be.
        """
        if self._control is None:
            raise UsageError("a guest cannot resize the slice it has joined: its holder can, or `gpupool resize`")
        if compute is None and memory is None:
            raise UsageError("resize needs a new compute, a new memory, or both")
        resized = self._control.resize_slice(
            self.slice_id,
            compute_pct=None if compute is None else parse_compute(compute),
            memory_mib=None if memory is None else parse_memory(memory),
        )
        self._grant = msgspec.structs.replace(
            self._grant, epoch=resized.epoch, compute_pct=resized.compute_pct, memory_mib=resized.memory_mib
        )
        self._publish()

    def environment(self) -> dict[str, str]:
        """Return the variables with which a child process joins this slice as a guest. Their values are secrets."""
        if self._invitation is None:
            url = self._control.url if self._control else ""
            self._invitation = InvitationFile(state_home() / "links", self.slice_id, url)
        return {"GPUPOOL_SLICE": self._invitation.write(self._grant)}

    def release(self) -> None:
        """Give the slice back. Idempotent; a guest only leaves it.

        Where the broker cannot be reached, leaving is enough: the agent sees that the holder has gone, and frees the slice.
        """
        _live.discard(self)
        if self._ended is None:
            self._ended = LeaseLost(f"slice {self.slice_id} was released by this program", slice_id=self.slice_id)
            if self.is_holder and self._control is not None:
                try:
                    self._control.release_slice(self.slice_id)
                except (NotFound, LeaseLost):
                    pass  # it had ended already
                except GpupoolError as error:
                    _log.warning("slice %s could not be released at the broker, so its agent will: %s", self.slice_id, error)
        self._leave()
        self._report_traffic()

    def _leave(self) -> None:
        if self._invitation is not None:
            self._invitation.remove()
        link, self._link = self._link, None
        if link is not None:
            link.close()
            self._traffic.add(link.traffic)

    def _report_traffic(self) -> None:
        """Where GPUPOOL_TRAFFIC names a file, add a line (JSON) that says what this process moved for the slice."""
        path = os.environ.get("GPUPOOL_TRAFFIC")
        if path and self._traffic.questions:
            line = msgspec.json.encode({"slice_id": self.slice_id, **msgspec.to_builtins(self._traffic)}) + b"\n"
            with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:
                file.write(line)

    # ── how it is reached ──────

    def link(self, lost: Link | None = None) -> Link:
        """Return an open link other than `lost`, opening one where there is none.

        Raises LeaseLost once the slice has ended, WorkerLost where it cannot be reached within the failover time.
        """
        present = self._link
        if present is not None and present is not lost and present.is_open:
            return present
        with self._finding:
            present = self._link
            if present is not None and present is not lost and present.is_open:
                return present
            self._raise_if_ended()
            self._link = None
            if present is not None:
                present.close()
                self._traffic.add(present.traffic)
            now = time.monotonic()
            if self._missed_since is None:
                self._missed_since = now
            # Whoever comes later joins the same wait; long after it, a call still tries for a moment whether the pool is back.
            self._link = link = self._find(max(self._missed_since + self._failover_s, now + min(ANSWER_S, self._failover_s)))
            self._missed_since = None
            # Released meanwhile: whoever did it may have looked for a link too early.
            if self._ended is not None:
                self._leave()
            self._raise_if_ended()
            return link

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            raise LeaseLost(self._ended.message, **self._ended.details)

    def _find(self, deadline: float) -> Link:
        while True:
            try:
                return self._open_link(deadline)
            except WorkerLost as error:
                reason: GpupoolError = error
            except (LeaseLost, NotFound, NotAuthorized, Conflict) as error:
                # The door may not know yet, or not any more: only the locator can say that the slice has ended.
                reason = error
            self._raise_if_ended()
            known = self._grant
            try:
                self._locate()
            except (Conflict, PoolUnreachable) as error:
                reason = error
            if time.monotonic() >= deadline:
                lost = LeaseLost if isinstance(reason, LeaseLost) else WorkerLost
                raise lost(
                    f"slice {self.slice_id} could not be reached again within {self._failover_s:.0f} s: {reason.message}",
                    slice_id=self.slice_id,
                ) from reason
            if self._grant.door == known.door and self._grant.epoch == known.epoch:
                time.sleep(RETRY_S)  # nothing new: give it time to come back, or to be placed elsewhere

    def _open_link(self, deadline: float) -> Link:
        timeout_s = max(ANSWER_S, deadline - time.monotonic())
        return Link.open(self._grant, holder=self.is_holder, timeout_s=timeout_s, on_end=self._on_end)

    def _locate(self) -> None:
        """Learn where the slice is now; raise LeaseLost, for good, where it has ended."""
        try:
            self._grant = self._locator.locate(self.slice_id)
        except (NotFound, LeaseLost) as error:
            self._ended = LeaseLost(f"slice {self.slice_id} has ended: {error.message}", slice_id=self.slice_id)
            _live.discard(self)
            self._leave()
            raise LeaseLost(self._ended.message, **self._ended.details) from error
        self._publish()

    def _publish(self) -> None:
        if self._invitation is not None and self.is_holder:
            self._invitation.write(self._grant)

    def _on_end(self, link: Link, error: GpupoolError) -> None:
        """The keeper says that `link` has ended. A holder moves at once: where it has no link, its slice would be freed."""
        _log.info("the link of slice %s to %s ended: %s", self.slice_id, link.worker, error.message)
        if self._ended is not None or not self.is_holder or self._link is not link:
            return
        with contextlib.suppress(GpupoolError):
            self.link(link)


_live: weakref.WeakSet[Slice] = weakref.WeakSet()


def _release_all() -> None:
    """At the end of the program: give back what it still holds. What a forked child inherited is not its own."""
    for held in list(_live):
        held.release()


atexit.register(_release_all)
