"""Threads that run calls: a group of lanes for the device, one for the host, one for each plug-in.

PageRun ──submit──> waiting ──choose──> lane ──Step.call──> future
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from gpupool_ocr.engine.choosing import StepLimits, Ticket, choose
from gpupool_ocr.steps.step import Call, Step
from gpupool_wire.errors import GpupoolError

#: A lane that is closed ends its call first; a call of a model on a CPU may last seconds.
CLOSING_S = 30.0


class EngineClosed(GpupoolError):
    """The service is stopping."""

    code = "stopping"
    http_status = 503


class Watcher(Protocol):
    """Whoever counts calls."""

    def called(self, step: str, calls: int, waited_s: float, took_s: float) -> None:
        """Hear that `calls` calls of a step travelled as one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundStep:
    """A step of a plan with the version of the model or plug-in that it runs."""

    name: str
    step: Step
    limits: StepLimits
    depth: int
    #: Names step and version: calls of other versions are neither counted nor batched with these.
    identity: str
    on_error: str = "fail"


@dataclass(slots=True)
class _Waiting:
    bound: BoundStep
    call: Call
    since: float
    future: Future[Any] = field(default_factory=Future)


class Lanes:
    """A group of threads that share the calls submitted to it. Thread-safe."""

    def __init__(
        self, name: str, threads: int, *, pages_wait: Callable[[], bool] = lambda: False, watcher: Watcher | None = None
    ) -> None:
        self.name = name
        self._pages_wait = pages_wait
        self._watcher = watcher
        self._changed = threading.Condition()
        self._waiting: dict[Ticket, _Waiting] = {}
        self._running: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._is_closed = False
        self._busy_since = 0.0
        self._busy_s = 0.0
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def __repr__(self) -> str:
        return f"<Lanes {self.name}: {len(self._threads)} lanes, {self._running.total()} running, {len(self._waiting)} waiting>"

    @property
    def threads(self) -> int:
        """How many calls run at the same time at most."""
        return len(self._threads)

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._waiting)

    @property
    def busy_s(self) -> float:
        """Seconds since the start during which at least one call was running."""
        with self._changed:
            return self._busy_s + (time.perf_counter() - self._busy_since if self._running.total() else 0.0)

    def submit(self, bound: BoundStep, call: Call, page: int) -> Future[Any]:
        """Return the future answer of a call for the page of that age. Raises EngineClosed."""
        waiting = _Waiting(bound, call, time.perf_counter())
        with self._changed:
            if self._is_closed:
                raise EngineClosed
            number = next(self._numbers)
            ticket = Ticket(step=bound.identity, depth=bound.depth, page=page, number=number, key=call.key)
            self._waiting[ticket] = waiting
            self._changed.notify()
        return waiting.future

    def close(self) -> None:
        """End the lanes behind their present calls; calls that wait fail with EngineClosed. Idempotent."""
        with self._changed:
            self._is_closed = True
            left = list(self._waiting.values())
            self._waiting.clear()
            self._changed.notify_all()
        for waiting in left:
            waiting.future.set_exception(EngineClosed())
        for thread in self._threads:
            thread.join(CLOSING_S)

    def _run(self) -> None:
        while taken := self._take():
            self._perform(taken)
            with self._changed:
                self._running[taken[0].bound.identity] -= 1
                if not self._running.total():
                    self._busy_s += time.perf_counter() - self._busy_since
                self._changed.notify_all()

    def _take(self) -> list[_Waiting]:
        """Wait for calls that may run, and return them; nothing once the lanes are closed."""
        with self._changed:
            while not self._is_closed:
                limits = {waiting.bound.identity: waiting.bound.limits for waiting in self._waiting.values()}
                chosen = choose(list(self._waiting), self._running, limits, pages_wait=self._pages_wait())
                if chosen:
                    taken = [self._waiting.pop(ticket) for ticket in chosen]
                    if not self._running.total():
                        self._busy_since = time.perf_counter()
                    self._running[chosen[0].step] += 1
                    return taken
                self._changed.wait()
            return []

    def _perform(self, taken: list[_Waiting]) -> None:
        bound, start = taken[0].bound, time.perf_counter()
        feeds = [waiting.call.feed for waiting in taken]
        try:
            if len(feeds) == 1:
                answers = [bound.step.call(feeds[0])]
            else:
                answers = bound.step.part(bound.step.call(bound.step.join(feeds)), feeds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the page that asked hears it; the lane lives on
            for waiting in taken:
                waiting.future.set_exception(error)
        else:
            for waiting, answer in zip(taken, answers, strict=True):
                waiting.future.set_result(answer)
        if self._watcher:
            waited_s = sum(start - waiting.since for waiting in taken)
            self._watcher.called(bound.name, len(taken), waited_s, time.perf_counter() - start)
