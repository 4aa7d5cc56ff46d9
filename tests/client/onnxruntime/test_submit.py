"""Calls of one session that are in flight together."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import numpy as np
import pytest

import gpupool.onnxruntime as ort

F = np.float32


class Gate:
    """Lets the session's calls execute only once it is open, and counts those that wait at it."""

    def __init__(self, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.executed = 0
        self._execute = session._execute
        monkeypatch.setattr(session, "_execute", self._pass)

    def _pass(self, *args: Any) -> Any:
        self.waiting.release()
        assert self.opened.wait(20)
        self.executed += 1
        return self._execute(*args)

    def await_waiting(self, count: int) -> None:
        for _ in range(count):
            assert self.waiting.acquire(timeout=20)


@pytest.fixture
def session(unary: Any, local_slice: Any) -> Any:
    return ort.InferenceSession(unary(), gpupool_slice=local_slice)


@pytest.fixture
def gate(session: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    gate = Gate(session, monkeypatch)
    yield gate
    gate.opened.set()


def feed(number: int) -> dict[str, Any]:
    return {"x": np.full(2, number, F)}


def test_submitted_calls_are_in_flight_together(session: Any, gate: Any) -> None:
    futures = [session.submit(None, feed(number)) for number in range(4)]
    gate.await_waiting(4)
    gate.opened.set()
    assert [future.result(20)[0].tolist() for future in futures] == [[number] * 2 for number in range(4)]


def test_awaited_calls_are_in_flight_together(session: Any, gate: Any) -> None:
    async def gather() -> list[Any]:
        calls = [asyncio.ensure_future(session.run_awaitable(["y"], feed(number))) for number in range(4)]
        await asyncio.to_thread(gate.await_waiting, 4)
        gate.opened.set()
        return await asyncio.gather(*calls)

    assert [result[0].tolist() for result in asyncio.run(gather())] == [[number] * 2 for number in range(4)]


def test_what_run_checks_first_raises_at_once(session: Any) -> None:
    with pytest.raises(ValueError, match="Required inputs"):
        session.submit(None, {})
    with pytest.raises(ValueError, match="Required inputs"):
        asyncio.run(session.run_awaitable(None, {}))


def test_what_goes_wrong_later_the_future_raises(session: Any) -> None:
    with pytest.raises(Exception, match="nope"):
        session.submit(["nope"], feed(1)).result(20)


def test_a_call_that_has_not_begun_can_be_cancelled(session: Any, gate: Any) -> None:
    begun = [session.submit(None, feed(number)) for number in range(8)]
    gate.await_waiting(8)
    behind = session.submit(None, feed(9))
    assert behind.cancel()
    gate.opened.set()
    for future in begun:
        future.result(20)
    assert gate.executed == 8


def test_a_wait_that_is_given_up_leaves_the_session_usable(session: Any, gate: Any) -> None:
    async def give_up() -> None:
        async with asyncio.timeout(0.05):
            await session.run_awaitable(None, feed(1))

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    gate.opened.set()
    assert session.run(None, feed(2))[0].tolist() == [2, 2]


def test_an_abandoned_future_harms_nobody(session: Any, gate: Any) -> None:
    future = session.submit(["nope"], feed(1))
    del future
    gc.collect()
    gate.opened.set()
    assert session.run(None, feed(2))[0].tolist() == [2, 2]
