"""Calls on their way through the worker: from a decoded message to a reply, on whichever thread has time.

main ──submit──> queue ──> executors (runs, array work) ─┐
     ──submit──> queue ──> loader (models) ──────────────┴─> done ──wakes──> main ──> socket
     ──run_now──> (a short call, on main itself)
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from gpupool_agent.array_work import ArrayWork
from gpupool_agent.call import Call, Done
from gpupool_agent.devices.base import Device, Program
from gpupool_agent.joining import Gathering, Joining
from gpupool_agent.loading import Loading
from gpupool_agent.models import ModelCache
from gpupool_agent.programs import Programs, SharedProgram
from gpupool_agent.quantum import Quantum
from gpupool_agent.running import Running
from gpupool_agent.tensor_cache import TensorCache
from gpupool_agent.threads import start_thread
from gpupool_agent.waiting import Waiting
from gpupool_wire.errors import GpupoolError, LeaseLost, OutOfSliceMemory, RemoteFault
from gpupool_wire.messages import Failed, OpenedModel, Operate, Operated, Result, Run

_log = logging.getLogger(__name__)
_now = time.monotonic_ns

#: A call below this runs on the thread that received it: handing it over and back costs about a tenth of a millisecond. Up to
#: the second bound that pays only where no other call waits, which the main thread would keep waiting.
QUICK_NS = 400_000
LONE_NS = 2_000_000


class Calls:
    """The threads that work on calls, and what they have done."""

    def __init__(self, device: Device, cache: ModelCache, quantum: Quantum) -> None:
        self._device = device
        self._quantum = quantum
        tensors = TensorCache(device.account)
        self._programs = Programs(device, cache, quantum, tensors.give_one)
        self._loading = Loading(self._programs, cache)
        self._running = Running(device, quantum, tensors)
        self._array_work = ArrayWork(device, quantum, self._programs.evict_one)
        self._runs = Waiting()
        self._joining = Joining(device, quantum, self._running, self._runs)
        self._loads: queue.SimpleQueue[Call | SharedProgram] = queue.SimpleQueue()
        self.done: deque[Done] = deque()
        #: Readable when `done` may hold something.
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.executed = 0
        #: Those of them that were executed in batches with others.
        self.batched = 0
        self._counting = threading.Lock()
        #: Runs handed to the executors whose replies main has not taken yet. Main's own count.
        self.running = 0

    def start(self) -> None:
        """Start the executors and the loader."""
        # Beside a GPU one more than may execute: it unpacks the next call's inputs and packs the last one's results meanwhile.
        for number in range(self._device.parallel_calls + (not self._device.does_host_work)):
            start_thread(f"executor-{number}", self._execute)
        start_thread("loader", self._load)

    def find_arrays(self, call: Call) -> None:
        """Give a call the arrays of its link, if it is about any. Raises UsageError where the device has none."""
        if call.is_about_arrays:
            call.store = self._array_work.store_of(call.link)

    def submit(self, call: Call) -> None:
        """Hand a call to the threads that do such calls."""
        if isinstance(call.message, Run | Operate):
            self.running += 1
            # Said here, not by the executor that takes it: between two calls a turn would else look as if its work were done.
            self._want(call)
            self._runs.put(call)
        else:
            self._loads.put(call)

    def release(self, shared: SharedProgram) -> None:
        """Give up a program whose session has ended without being closed."""
        self._loads.put(shared)

    def link_gone(self, link_id: str) -> None:
        """Give up what a link held on the device."""
        self._array_work.link_gone(link_id)

    def run_now(self, call: Call) -> Done | None:
        """Run a call on this thread; return None, and leave it to be tried again, where there is no grant at the moment.

        None, and `call.is_handed_on`, where an executor goes on with it: memory has to be made for it first, which may take
        seconds, or it is a batch that turned out long.
        """
        return self._answered(call, partial(self._operate_now if isinstance(call.message, Operate) else self._run_now, call))

    def evict_one(self, *, idle_for_ns: int) -> bool:
        """Unload a model that was not used for so long; return whether there was one."""
        return self._programs.evict_one(idle_for_ns=idle_for_ns)

    def open_models(self) -> tuple[int, list[OpenedModel]]:
        """Return how many models are open, and the largest of them, as a beat names them."""
        return self._programs.told()

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
            if done.call.arena is not None:  # here, where they have just been made, and not on main
                done.frames = done.call.arena.hold([b"", *done.frames])[1:]
            self.done.append(done)
            self.wake()

    def _answered(self, call: Call, work: Callable[[], Done | None]) -> Done | None:
        """Do the work of a call; whatever it raises becomes the reply."""
        done: Done | None = None
        try:
            done = work()
            if done is None:
                return None
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
        return self._counted(done or Done(call=call, reply=Failed(call_id=call.message.call_id, error=info)))

    def _counted(self, done: Done) -> Done:
        """A call is over: let go of what it held, and count it."""
        self._running.let_go(done.call)
        if isinstance(done.reply, Result | Operated):
            with self._counting:
                self.executed += 1
                self.batched += done.reply.timing.batched > 0
        return done

    # ── main ──────

    def _run_now(self, call: Call) -> Done | None:
        self._running.prepare_early(call)
        shared = call.program
        program = shared.enter()
        try:
            if program is not None:
                if not self._quantum.try_enter():
                    return None
                return self._running.run(call, program, queue_ns=0, throttle_ns=_now() - call.received_ns)
        except OutOfSliceMemory:
            pass
        finally:
            shared.leave()
        call.is_handed_on = True
        self.submit(call)
        return None

    def _operate_now(self, call: Call) -> Done | None:
        done = self._array_work.work_now(call)
        if done is None and call.is_handed_on:
            self.submit(call)
        return done

    # ── executors ──────

    def _execute(self) -> None:
        while True:
            call = self._runs.get()
            done = self._answered(call, partial(self._operate if isinstance(call.message, Operate) else self._run, call))
            self._unwant(call)
            self._finish(done)
            del call, done  # else its tensors live until the next call

    def _run(self, call: Call) -> Done | None:
        if call.link.has_ended:
            raise LeaseLost
        queue_ns = _now() - call.received_ns
        self._running.prepare_early(call)

        def run(program: Program) -> Done | None:
            throttle_ns = self._quantum.enter()
            self._unwant(call)
            if (gathering := self._joining.gather(call)) is not None:
                return self._run_as_one(call, gathering, program, throttle_ns)
            return self._running.run(call, program, queue_ns=queue_ns, throttle_ns=throttle_ns)

        return self._programs.use(call.program, run)

    def _run_as_one(self, call: Call, gathering: Gathering, program: Program, throttle_ns: int) -> Done | None:
        """Run calls together; return what becomes of `call`, None where it waits again, to be run alone as the others."""
        for other in gathering.calls:
            self._unwant(other)
        answers = self._joining.run(gathering, program, throttle_ns=throttle_ns)
        if answers is None:
            for failed in gathering.calls:
                failed.is_alone = True
                self._want(failed)
            self._runs.put_back(gathering.calls)
            return None
        for done in answers:
            if done.call is not call:
                self.done.append(self._counted(done))  # main wakes up for `call`, soon
        return next(done for done in answers if done.call is call)

    def _operate(self, call: Call) -> Done:
        return self._array_work.work(call, lambda: self._unwant(call))

    def _want(self, call: Call) -> None:
        """The call waits for its turn."""
        self._quantum.want()
        call.is_wanted = True

    def _unwant(self, call: Call) -> None:
        """The call has entered its turn, or never will."""
        if call.is_wanted:
            call.is_wanted = False
            self._quantum.unwant()

    # ── the loader ──────

    def _load(self) -> None:
        while True:
            job = self._loads.get()
            if isinstance(job, SharedProgram):
                self._programs.release(job)
                continue
            self._finish(self._answered(job, partial(self._loading.load, job)))
            del job
