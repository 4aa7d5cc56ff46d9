"""Calls of many pages on few lanes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from gpupool_ocr.engine.choosing import StepLimits
from gpupool_ocr.engine.lanes import BoundStep, EngineClosed, Lanes
from gpupool_ocr.steps.step import Call
from gpupool_ocr.steps.work import PageWork


class Recorder:
    """A step whose calls wait to be let go."""

    def __init__(self) -> None:
        self.calls: list[Mapping[str, Any]] = []
        self.gate = threading.Event()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def split(self, page: PageWork) -> list[Call]:
        raise AssertionError("the lanes never split")

    def merge(self, page: PageWork, calls: Sequence[Call], answers: Sequence[Any]) -> None:
        raise AssertionError("the lanes never merge")

    def call(self, feed: Mapping[str, Any]) -> Any:
        with self._lock:
            self.calls.append(feed)
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.gate.wait(10)
        with self._lock:
            self.running -= 1
        if feed.get("x") == "bad":
            raise ValueError("bad")
        return feed["x"]

    def join(self, feeds: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return {"x": [feed["x"] for feed in feeds]}

    def part(self, answer: Any, feeds: Sequence[Mapping[str, Any]]) -> list[Any]:
        return list(answer)


def bound(step: Recorder, **limits: Any) -> BoundStep:
    return BoundStep(name="s", step=step, limits=StepLimits(**limits), depth=0, identity="s")


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def step() -> Recorder:
    return Recorder()


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    lanes = Lanes("test", 3)
    yield lanes
    lanes.close()


def test_every_call_gets_its_own_answer(lanes: Lanes, step: Recorder) -> None:
    step.gate.set()
    futures = [lanes.submit(bound(step), Call(feed={"x": number}), number) for number in range(20)]
    assert [future.result(10) for future in futures] == list(range(20))


def test_no_more_calls_run_than_there_are_lanes_and_than_the_step_may(lanes: Lanes, step: Recorder) -> None:
    futures = [lanes.submit(bound(step, replicas=2), Call(feed={"x": number}), number) for number in range(6)]
    eventually(lambda: step.running == 2)
    step.gate.set()
    assert [future.result(10) for future in futures] == list(range(6))
    assert step.most == 2


def test_waiting_calls_of_one_shape_travel_as_one(lanes: Lanes, step: Recorder) -> None:
    one = bound(step, replicas=1, batch=8)
    first = lanes.submit(one, Call(feed={"x": "first"}, key="k"), 0)
    eventually(lambda: step.running == 1)
    others = [lanes.submit(one, Call(feed={"x": number}, key="k"), number) for number in range(3)]
    step.gate.set()
    assert first.result(10) == "first"
    assert [future.result(10) for future in others] == [0, 1, 2]
    assert step.calls[1:] == [{"x": [0, 1, 2]}]


def test_a_call_that_fails_harms_nobody_else(lanes: Lanes, step: Recorder) -> None:
    step.gate.set()
    bad, good = (lanes.submit(bound(step), Call(feed={"x": x}), 0) for x in ("bad", "good"))
    with pytest.raises(ValueError, match="bad"):
        bad.result(10)
    assert good.result(10) == "good"


def test_calls_that_wait_when_the_lanes_close_hear_it(lanes: Lanes, step: Recorder) -> None:
    futures = [lanes.submit(bound(step, replicas=1), Call(feed={"x": number}), number) for number in range(2)]
    eventually(lambda: step.running == 1)
    closer = threading.Thread(target=lanes.close)
    closer.start()
    with pytest.raises(EngineClosed):
        futures[1].result(10)
    step.gate.set()
    assert futures[0].result(10) == 0
    closer.join(10)
    with pytest.raises(EngineClosed):
        lanes.submit(bound(step), Call(feed={}), 0)


def test_busy_time_is_that_with_at_least_one_call(lanes: Lanes, step: Recorder) -> None:
    assert lanes.busy_s == 0
    start = time.perf_counter()
    futures = [lanes.submit(bound(step), Call(feed={"x": number}), number) for number in range(3)]
    eventually(lambda: lanes.busy_s > 0.02)
    step.gate.set()
    for future in futures:
        future.result(10)
    eventually(lambda: step.running == 0)
    assert lanes.busy_s <= time.perf_counter() - start, "calls at the same time count once"
