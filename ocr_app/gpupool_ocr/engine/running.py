"""One page through its plan.

ready steps ──split──> calls on lanes ──answers──> merge ──> more steps ready … all done
      └── the page stands on its head: from the start again, turned, once
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from gpupool_ocr.engine.lanes import BoundStep, Lanes
from gpupool_ocr.pages import Image
from gpupool_ocr.pipeline import Line
from gpupool_ocr.plans.graph import Graph
from gpupool_ocr.plans.spec import CasesSpec
from gpupool_ocr.steps.step import Call
from gpupool_ocr.steps.work import PageWork
from gpupool_wire.errors import GpupoolError


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundPlan:
    """A plan with a version for everything it runs."""

    name: str
    #: Number of the snapshot it comes from.
    release: int
    #: Of the release: tells two openings of one snapshot apart.
    key: int
    graph: Graph
    steps: Mapping[str, BoundStep]
    #: The lanes each step's calls go to.
    lanes: Mapping[str, Lanes]
    #: Version of each model and plug-in.
    versions: Mapping[str, str]
    #: What is kept of its pages, where the plan says so.
    cases: CasesSpec | None = None


#: Hears of lines as they are read: the index of each among the page's boxes, and the line.
Hears = Callable[[list[tuple[int, Line]]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageReading:
    """What a page says, and where the time went: seconds by step, from its first call asked for to its merge."""

    work: PageWork
    height: int
    width: int
    timings_s: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Started:
    bound: BoundStep
    calls: list[Call]
    futures: list[Future[Any]]
    at: float


def read_page(plan: BoundPlan, image: Image, *, number: int, hears: Hears | None = None) -> PageReading:
    """Return the reading of a page (uint8, BGR, (H, W, 3)); `number` is its age. Raises what a step that may not fail raises."""
    start = time.perf_counter()
    timings_s: dict[str, float] = {}
    work = _Run(plan, PageWork.of(image), number, timings_s, hears).finish()
    if work.wants_turning:
        problems = work.problems
        work = _Run(plan, work.turned_over(), number, timings_s, hears).finish()
        work.problems += [problem for problem in problems if problem not in work.problems]
    timings_s["total"] = time.perf_counter() - start
    return PageReading(work=work, height=image.shape[0], width=image.shape[1], timings_s=timings_s)


class _Run:
    """One way through the plan."""

    def __init__(self, plan: BoundPlan, work: PageWork, number: int, timings_s: dict[str, float], hears: Hears | None) -> None:
        self._plan = plan
        self._work = work
        self._number = number
        self._timings_s = timings_s
        self._hears = hears
        self._started: dict[str, _Started] = {}
        self._done: set[str] = set()

    def finish(self) -> PageWork:
        """Do what is left, and return the page."""
        while len(self._done) < len(self._plan.steps) and not self._work.wants_turning:
            for name in self._plan.graph.ready(frozenset(self._started) | self._done, frozenset(self._done)):
                self._start(name)
            complete = [name for name, started in self._started.items() if all(future.done() for future in started.futures)]
            for name in complete:
                self._merge(self._started.pop(name))
            if not complete:
                pending = [future for started in self._started.values() for future in started.futures if not future.done()]
                wait(pending, return_when=FIRST_COMPLETED)
        return self._work

    def _start(self, name: str) -> None:
        bound, lanes = self._plan.steps[name], self._plan.lanes[name]
        at = time.perf_counter()
        calls = bound.step.split(self._work)
        futures = [lanes.submit(bound, call, self._number) for call in calls]
        self._started[name] = _Started(bound=bound, calls=calls, futures=futures, at=at)
        peek = getattr(bound.step, "peek", None)
        if self._hears and peek:
            for call, future in zip(calls, futures, strict=True):
                future.add_done_callback(lambda done, call=call: self._tell(peek, call, done))  # type: ignore[misc]

    def _tell(self, peek: Callable[[PageWork, Call, Any], list[tuple[int, Line]]], call: Call, done: Future[Any]) -> None:
        if self._hears and not done.cancelled() and not done.exception():
            self._hears(peek(self._work, call, done.result()))

    def _merge(self, started: _Started) -> None:
        bound = started.bound
        try:
            bound.step.merge(self._work, started.calls, [future.result() for future in started.futures])
        except GpupoolError as error:
            if bound.on_error == "fail":
                raise
            self._work.problems.append(f"{bound.name}: {error.message}")
        self._done.add(bound.name)
        self._timings_s[bound.name] = self._timings_s.get(bound.name, 0.0) + time.perf_counter() - started.at
