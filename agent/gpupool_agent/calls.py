"""Calls on their way through the worker: from a decoded message to a reply, on whichever thread has time.

main ──submit──> queue ──> executors (runs) ─┐
     ──submit──> queue ──> loader (models) ──┴─> done ──wakes──> main ──> socket
     ──run_now──> (a short call, on main itself)
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from gpupool_agent.core.sessions import Link
from gpupool_agent.devices.base import Device, Program
from gpupool_agent.models import ModelCache
from gpupool_agent.programs import Programs, SharedProgram
from gpupool_agent.quantum import Quantum
from gpupool_agent.threads import start_thread
from gpupool_wire.errors import ExecutionFailed, GpupoolError, LeaseLost, OutOfSliceMemory, RemoteFault, RemoteProtocolError
from gpupool_wire.messages import (
    CloseSession,
    Failed,
    Message,
    ModelMissing,
    ModelStored,
    OpenModel,
    PutModel,
    Result,
    Run,
    SessionClosed,
    Timing,
)
from gpupool_wire.tensors import Buffer, Value, pack_values, unpack_values

_log = logging.getLogger(__name__)
_now = time.monotonic_ns

#: Frames up to this size are copied out of libzmq's buffer at once: quicker than asking where in it they begin.
TINY_BYTES = 4096
#: A call below this runs on the thread that received it: handing it over and back costs about a tenth of a millisecond. Up to
#: the second bound that pays only where no other call waits, which the main thread would keep waiting.
QUICK_NS = 400_000
LONE_NS = 2_000_000


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One request of one channel."""

    channel_id: bytes
    link: Link
    message: OpenModel | PutModel | Run | CloseSession
    frames: list[Buffer]
    received_ns: int
    #: The program of a Run, and the one a CloseSession gives up.
    shared: SharedProgram | None = None
    #: The inputs of a Run, once its frames are unpacked.
    feed: dict[str, Value] | None = None
    #: Main began with it and found that it needs a thread of its own after all.
    is_handed_on: bool = False
    #: It counts among the calls that wait for a turn.
    is_wanted: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Done:
    """A call and its reply. `opened` is the program of a session that main has yet to number."""

    call: Call
    reply: Message | None
    frames: list[Buffer] = field(default_factory=list)
    opened: SharedProgram | None = None


class Calls:
    """The threads that work on calls, and what they have done."""

    def __init__(self, device: Device, cache: ModelCache, quantum: Quantum) -> None:
        self._device = device
        self._cache = cache
        self._quantum = quantum
        self._programs = Programs(device, cache, quantum)
        self._runs: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._loads: queue.SimpleQueue[Call | SharedProgram] = queue.SimpleQueue()
        self.done: deque[Done] = deque()
        #: Readable when `done` may hold something.
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.executed = 0
        #: Runs handed to the executors whose replies main has not taken yet. Main's own count.
        self.running = 0

    def start(self) -> None:
        """Start the executors and the loader."""
        # Beside a GPU one more than may execute: it unpacks the next call's inputs and packs the last one's results meanwhile.
        for number in range(self._device.parallel_calls + (not self._device.does_host_work)):
            start_thread(f"executor-{number}", self._execute)
        start_thread("loader", self._load)

    def submit(self, call: Call) -> None:
        """Hand a call to the threads that do such calls."""
        if isinstance(call.message, Run):
            self.running += 1
            # Said here, not by the executor that takes it: between two calls a turn would else look as if its work were done.
            self._quantum.want()
            call.is_wanted = True
            self._runs.put(call)
        else:
            self._loads.put(call)

    def release(self, shared: SharedProgram) -> None:
        """Give up a program whose session has ended without being closed."""
        self._loads.put(shared)

    def run_now(self, call: Call) -> Done | None:
        """Run a call on this thread; return None, and leave it to be tried again, where there is no grant at the moment.

        None, and `call.is_handed_on`, where memory has to be made for it first: that may take seconds, and an executor does it.
        """

        def run() -> Done | None:
            self._prepare_early(call)
            shared = _shared(call)
            program = shared.enter()
            try:
                if program is not None:
                    if not self._quantum.try_enter():
                        return None
                    return self._run_entered(call, program, queue_ns=0, throttle_ns=_now() - call.received_ns)
            except OutOfSliceMemory:
                pass
            finally:
                shared.leave()
            call.is_handed_on = True
            self.submit(call)
            return None

        return self._answered(call, run)

    def evict_one(self, *, idle_for_ns: int) -> bool:
        """Unload a model that was not used for so long; return whether there was one."""
        return self._programs.evict_one(idle_for_ns=idle_for_ns)

    def woken(self) -> None:
        """Make `wake_fd` unreadable again, before `done` is emptied."""
        try:
            os.eventfd_read(self.wake_fd)
        except BlockingIOError:
            return

    def wake(self) -> None:
        """Wake whoever polls `wake_fd`."""
        os.eventfd_write(self.wake_fd, 1)

    def _finish(self, done: Done | None) -> None:
        if done is not None:
            self.done.append(done)
            self.wake()

    def _answered(self, call: Call, work: Callable[[], Done | None]) -> Done | None:
        """Do the work of a call; whatever it raises becomes the reply."""
        try:
            return work()
        except GpupoolError as error:
            info = error.to_info()
        except MemoryError as error:
            account = self._device.account
            info = OutOfSliceMemory(
                f"the worker could not hold the tensors of this call: {error}",
                used_bytes=account.used_bytes,
                limit_bytes=account.limit_bytes,
            ).to_info()
        except Exception:  # noqa: BLE001 - a model may make any library raise anything; the worker serves others, too
            kind = type(call.message).__name__
            _log.exception("a call failed in an unforeseen way", extra={"action": "call_failed", "call": kind})
            info = RemoteFault(f"the worker failed at this {kind}; its log says how").to_info()
        return Done(call=call, reply=Failed(call_id=call.message.call_id, error=info))

    # ── executors ──────

    def _execute(self) -> None:
        while True:
            call = self._runs.get()
            done = self._answered(call, partial(self._run, call))
            self._unwant(call)
            self._finish(done)
            del call, done  # else its tensors live until the next call

    def _run(self, call: Call) -> Done:
        if call.link.has_ended:
            raise LeaseLost
        queue_ns = _now() - call.received_ns
        self._prepare_early(call)

        def run(program: Program) -> Done:
            throttle_ns = self._quantum.enter()
            self._unwant(call)
            return self._run_entered(call, program, queue_ns=queue_ns, throttle_ns=throttle_ns)

        return self._programs.use(_shared(call), run)

    def _unwant(self, call: Call) -> None:
        """The call has entered its turn, or never will."""
        if call.is_wanted:
            call.is_wanted = False
            self._quantum.unwant()

    def _prepare_early(self, call: Call) -> None:
        """Prepare a call before its turn, where that takes nothing of the device."""
        if not self._device.does_host_work:
            self._prepare(call)

    def _prepare(self, call: Call) -> None:
        """Turn the frames of a Run into its inputs, if that was not done yet."""
        if call.feed is not None or not isinstance(call.message, Run):
            return
        names = [name for name, _ in call.message.feed]
        values = unpack_values([spec for _, spec in call.message.feed], call.frames)
        if self._device.aligned_bytes > 1:
            values = [_aligned(value, self._device.aligned_bytes) for value in values]
        call.feed = dict(zip(names, values, strict=True))
        call.frames = []  # those the arrays are no views of may go
        if len(call.feed) != len(names):
            raise RemoteProtocolError(f"a call names an input twice: {names}")

    def _run_entered(self, call: Call, program: Program, *, queue_ns: int, throttle_ns: int) -> Done:
        """Run a call inside the quantum, which ends for it here, whatever happens."""
        device_ns: int | None = None
        try:
            self._prepare(call)
            message, shared = call.message, _shared(call)
            if not isinstance(message, Run) or call.feed is None:
                raise RemoteProtocolError(f"{type(message).__name__} is not a call for an executor")
            started_ns = _now()
            execution = self._device.run(program, call.feed, message.outputs, message.run_config)
            device_ns, executed_ns = execution.device_ns, _now() - started_ns
            packed = pack_values(_travelling(execution.values)) if self._device.does_host_work else None
        finally:
            self._quantum.leave(device_ns)
        self.executed += 1
        shared.latest_ns = executed_ns
        specs, frames = packed or pack_values(_travelling(execution.values))
        timing = Timing(queue_ns=queue_ns, throttle_ns=throttle_ns, execute_ns=executed_ns)
        return Done(call=call, reply=Result(call_id=message.call_id, outputs=specs, timing=timing), frames=list(frames))

    # ── the loader ──────

    def _load(self) -> None:
        while True:
            job = self._loads.get()
            if isinstance(job, SharedProgram):
                self._programs.release(job)
                continue
            self._finish(self._answered(job, partial(self._do_load, job)))
            del job

    def _do_load(self, call: Call) -> Done:
        match call.message:
            case OpenModel():
                opened = self._programs.acquire(call.message)
                if isinstance(opened, ModelMissing):
                    return Done(call=call, reply=opened)
                return Done(call=call, reply=None, opened=opened)
            case PutModel(call_id=call_id, sha256=sha256, offset=offset):
                if len(call.frames) != 1:
                    raise RemoteProtocolError(f"a part of a model comes in one frame, not in {len(call.frames)}")
                complete = self._cache.put(sha256, offset, call.frames[0])
                return Done(call=call, reply=ModelStored(call_id=call_id, sha256=sha256, complete=complete))
            case CloseSession(call_id=call_id, session_id=session_id):
                if call.shared is not None:
                    self._programs.release(call.shared)
                return Done(call=call, reply=SessionClosed(call_id=call_id, session_id=session_id))
        raise RemoteProtocolError(f"{type(call.message).__name__} is not a call for the loader")


def _shared(call: Call) -> SharedProgram:
    if call.shared is None:
        raise RemoteProtocolError(f"{type(call.message).__name__} is not about an open model")
    return call.shared


def _aligned(value: Value, boundary: int) -> Value:
    """Return a value whose arrays begin on a boundary: themselves where they do, else copies (which NumPy aligns to 16).

    Tiny arrays came as `bytes`, whose contents Python aligns as well.
    """
    if isinstance(value, list):
        return [_aligned(item, boundary) for item in value]
    if isinstance(value, np.ndarray) and value.nbytes > TINY_BYTES and value.ctypes.data % boundary:
        return value.copy()
    return value


def _travelling(values: list[Value]) -> list[Value]:
    """Return outputs as they are; raise ExecutionFailed for a kind of value the wire has no form for (sparse tensors)."""
    for value in values:
        if value is not None and not isinstance(value, np.ndarray | np.generic | list | dict):
            raise ExecutionFailed(f"the model returns a {type(value).__name__}, which cannot travel", ort_class="NotImplemented")
    return values
