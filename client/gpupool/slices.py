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
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from gpupool.control import Control
from gpupool.grant import Grant, Invitation, encode_invitation
from gpupool.link import Link
from gpupool.listeners import Listeners
from gpupool.locator import FileLocator, InvitationFile, Locator
from gpupool.model_source import keep_model
from gpupool.models import Model
from gpupool.protocols import ModelSource
from gpupool.reach import FAILOVER_S, Reach
from gpupool.settings import wants_batching
from gpupool.slice_usage import SliceUsage, ask_usage
from gpupool.traffic import Traffic
from gpupool.unpicklable import Unpicklable
from gpupool_wire.errors import GpupoolError, LeaseLost, NotFound, OutOfSliceMemory, UsageError
from gpupool_wire.home import state_home
from gpupool_wire.messages import ModelOptions
from gpupool_wire.units import MIB, Policy, format_memory, parse_compute, parse_memory

if TYPE_CHECKING:
    from gpupool.arrays import Namespace
    from gpupool.arrays.functions import P, R, StepFunction
    from gpupool.onnxruntime import InferenceSession
    from gpupool.profiling import Profile
    from gpupool.profiling.watch import Watch

_log = logging.getLogger(__name__)


class Slice(Unpicklable):
    """A slice of a device. A context manager: released at its end, and at the end of the program. Thread-safe.

    A forked child may use it as a guest, on a link of its own; the slice stays its parent's.
    """

    _instead_of_pickling = (
        "a slice cannot be pickled: it ends with this process. Start the other one with the variables of slice.environment(): it "
        "joins the slice as a guest"
    )

    def __init__(
        self, grant: Grant, locator: Locator, *, control: Control | None, holder: bool, failover_s: float = FAILOVER_S
    ) -> None:
        self._control = control
        self._holder_pid = os.getpid() if holder else None
        self._invitation: InvitationFile | None = None
        self._namespace: Namespace | None = None
        self._listeners = Listeners()
        self._reach = Reach(grant, locator, is_holder=lambda: self.is_holder, on_news=self._hear_news, failover_s=failover_s)
        _live.add(self)

    def __repr__(self) -> str:
        grant, state = self.grant, self._reach.state
        role = "holder" if self.is_holder else "guest"
        return (
            f"<Slice {grant.slice_id}: {grant.compute_pct} % and {format_memory(grant.memory_mib)} of {grant.kind} "
            f"{grant.node}/{grant.device} ({grant.model}), {grant.policy.value}, {role}, {state}>"
        )

    def __enter__(self) -> Slice:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    # ── what it is ──────

    @property
    def grant(self) -> Grant:
        """The slice as granted, resized and moved last."""
        return self._reach.grant

    @property
    def slice_id(self) -> str:
        """The slice's id."""
        return self.grant.slice_id

    @property
    def node(self) -> str:
        """The node the slice is on."""
        return self.grant.node

    @property
    def device(self) -> str:
        """The device's name on its node."""
        return self.grant.device

    @property
    def kind(self) -> str:
        """What the device is: "cuda", "cpu" or "null"."""
        return self.grant.kind

    @property
    def compute_pct(self) -> int:
        """Share of the device's time, in whole per cent."""
        return self.grant.compute_pct

    @property
    def memory_mib(self) -> int:
        """Memory limit, in MiB."""
        return self.grant.memory_mib

    @property
    def policy(self) -> Policy:
        """Whether it may use device time that nobody else wants."""
        return self.grant.policy

    @property
    def is_paused(self) -> bool:
        """Whether it keeps its memory and gets no device time for now: its calls wait."""
        link = self._reach.present
        return link is not None and link.news.is_paused

    @property
    def notice(self) -> str:
        """Why it will be taken back soon; empty where it will not, or where nobody has said so yet."""
        link = self._reach.present
        return link.news.notice if link is not None else ""

    @property
    def is_holder(self) -> bool:
        """Whether the slice ends with this process."""
        return self._holder_pid == os.getpid()

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have been released, to have expired or to have been taken back."""
        return self._reach.ended is not None

    @property
    def traffic(self) -> Traffic:
        """What this process has moved for the slice so far."""
        return self._reach.traffic

    @property
    def bytes_per_s(self) -> float:
        """What its link carries, as far as tensors are coded for it; 0 where they travel as they are, or none has yet."""
        link = self._reach.present
        return link.pace.bytes_per_s if link is not None else 0

    @property
    def providers(self) -> list[str]:
        """Execution providers of the device, best first. Opens the link where it is not open yet."""
        return list(self.link().joined.providers)

    # ── what can be done with it ──────

    def open_model(self, model: ModelSource, options: ModelOptions | None = None, *, batching: bool | None = None) -> Model:
        """Open a model from its bytes or path; its bytes are uploaded only where the worker does not have them.

        `batching`: whether the worker may execute its calls as one with others like them that wait, where that changes no bit of
        the results; None leaves it to GPUPOOL_BATCHING, on where that is not set.
        Raises ModelRejected with ONNX Runtime's text, OutOfSliceMemory, LeaseLost, LimitExceeded, and the OSError of an
        unreadable file.
        """
        may_batch = wants_batching() if batching is None else batching
        return Model(self, keep_model(model), options or ModelOptions(), may_batch=may_batch)

    def inference_session(
        self,
        model: str | bytes | os.PathLike[str],
        sess_options: Any = None,  # noqa: ANN401 - onnxruntime's own, or its stand-in
        providers: Any = None,  # noqa: ANN401 - names, or pairs of name and options, as onnxruntime takes them
        provider_options: Any = None,  # noqa: ANN401
        *,
        lazy: Sequence[str] = (),
        batching: bool | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> InferenceSession:
        """Return a session with the surface of onnxruntime.InferenceSession that runs on this slice.

        Outputs named in `lazy` stay on the device until they are looked at; `batching` is as in `open_model`. Raises UsageError
        where the model has no such output.
        """
        from gpupool.onnxruntime import InferenceSession

        mine: dict[str, Any] = {"gpupool_slice": self, "gpupool_lazy": lazy, "gpupool_batching": batching}
        return InferenceSession(model, sess_options, providers, provider_options, **mine, **kwargs)

    @property
    def xp(self) -> Namespace:
        """The slice's array namespace: the Python array API standard, 2024.12, with arrays that live on the device.

        Raises UsageError where this host's NumPy is older than 2.1.
        """
        if self._namespace is None:
            from gpupool.arrays import Namespace

            self._namespace = Namespace(self)
        return self._namespace

    def function(self, function: Callable[P, R]) -> StepFunction[P, R]:
        """Return `function` as a step: its operations on arrays of `xp` are recorded once and replayed with one message.

        Also a decorator. See StepFunction.
        """
        from gpupool.arrays.functions import StepFunction

        return StepFunction(self.xp._caller, function)

    def profile(self) -> Profile:
        """Return a context manager that collects what this process's calls of the slice cost while it lasts. See Profile."""
        from gpupool.profiling import Profile

        return Profile(self._listeners.add, self._listeners.remove)

    def usage(self) -> SliceUsage:
        """Return what the slice uses now and has used, as its worker measures it."""
        return ask_usage(self.link)

    def resize(self, compute: int | str | None = None, memory: int | str | None = None, *, deadline: float | None = None) -> None:
        """Change the slice's size while it runs: compute in per cent, memory in MiB or as "2GiB"; None leaves it.

        Less memory than is used is refused; with a `deadline` (seconds) idle models are unloaded until it fits. They are loaded
        again by their next call.

        Raises SliceRefused with the numbers compared, Conflict with what holds the memory, UsageError for a size that cannot be.
        """
        if self._control is None:
            raise UsageError("a guest cannot resize the slice it has joined: its holder can, or `gpupool resize`")
        if compute is None and memory is None:
            raise UsageError("resize needs a new compute, a new memory, or both")
        resized = self._control.resize_slice(
            self.slice_id,
            compute_pct=None if compute is None else parse_compute(compute),
            memory_mib=None if memory is None else parse_memory(memory),
            deadline_s=deadline or 0.0,
        )
        self._reach.grant = msgspec.structs.replace(
            self.grant, epoch=resized.epoch, compute_pct=resized.compute_pct, memory_mib=resized.memory_mib
        )
        self._hear_news()

    def environment(self) -> dict[str, str]:
        """Return the variables with which a child process joins this slice as a guest. Their values are secrets."""
        url = self._control.url if self._control else ""
        if isinstance(self._reach.locator, FileLocator):
            # A guest's children follow what the holder writes, as the guest does itself.
            invitation = Invitation(grant=self.grant, file=str(self._reach.locator.path), url=url)
            return {"GPUPOOL_SLICE": encode_invitation(invitation)}
        if self._invitation is None:
            self._invitation = InvitationFile(state_home() / "links", self.slice_id, url)
        return {"GPUPOOL_SLICE": self._invitation.write(self.grant)}

    def link(self, lost: Link | None = None) -> Link:
        """Return an open link other than `lost`; raise LeaseLost once the slice has ended, WorkerLost where none can be had."""
        return self._reach.link(lost)

    @property
    def watch(self) -> Watch | None:
        """What calls go through while somebody wants to know what they cost."""
        return self._listeners.watch

    def replace_link(self, doubted: Link) -> Link:
        """Return an open link other than `doubted`, which is closed then. Raises as `link` does."""
        return self._reach.replace(doubted)

    def check_room(self, nbytes: int) -> None:
        """Raise OutOfSliceMemory for tensors that an empty slice could not hold, before they travel."""
        if nbytes <= self.memory_mib * MIB:
            return
        limit = self.usage().memory_limit_bytes  # it may have grown at another's word
        if nbytes > limit:
            raise OutOfSliceMemory(
                f"what is sent takes {nbytes / MIB:.1f} MiB, but slice {self.slice_id} has {format_memory(limit // MIB)}: "
                "send less at a time, or resize the slice",
                asked_bytes=nbytes,
                limit_bytes=limit,
            )

    def release(self) -> None:
        """Give the slice back. Idempotent; a guest only leaves it.

        Where the broker cannot be reached, leaving is enough: the agent sees that the holder has gone, and frees the slice.
        """
        if self.has_ended:
            return
        # From here on no call goes out, but the link stays until the broker knows: else the agent would report a lost holder.
        self._reach.ended = LeaseLost(f"slice {self.slice_id} was released by this program", slice_id=self.slice_id)
        if self.is_holder and self._control is not None:
            try:
                self._control.release_slice(self.slice_id)
            except (NotFound, LeaseLost):
                pass  # it had ended already
            except GpupoolError as error:
                _log.warning("slice %s could not be released at the broker, so its agent will: %s", self.slice_id, error)
        self._reach.end(self._reach.ended)

    def _hear_news(self) -> None:
        """The slice has moved or changed its size, or has ended."""
        if self.has_ended:
            _live.discard(self)
            if self._invitation is not None:
                self._invitation.remove()
            self._report_traffic()
        elif self._invitation is not None:
            self._invitation.write(self.grant)

    def _report_traffic(self) -> None:
        """Where GPUPOOL_TRAFFIC names a file, add a line (JSON) that says what this process moved for the slice."""
        path, traffic = os.environ.get("GPUPOOL_TRAFFIC"), self.traffic
        if path and traffic.questions:
            line = msgspec.json.encode({"slice_id": self.slice_id, **msgspec.to_builtins(traffic)}) + b"\n"
            with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:
                file.write(line)


_live: weakref.WeakSet[Slice] = weakref.WeakSet()


def _release_all() -> None:
    """At the end of the program: give back what it still holds. What a forked child inherited is not its own."""
    for held in list(_live):
        held.release()


atexit.register(_release_all)
