"""Pools without sockets, and brokers with them; every pool's invariants are checked when its test ends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.invariants import check
from gpupool_broker.core.pool import Pool
from gpupool_wire.messages import DeviceInfo, RequestSlice
from gpupool_wire.units import Hold, Policy


class PoolDriver:
    """Feeds a pool events at a clock of its own, applies and keeps the facts, as the service does."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.pool = Pool(lambda: f"s{next(numbers)}")
        self.journal: list[f.Fact] = []
        self.now_ms = 1_000
        self._callers = itertools.count(1)

    def send(self, event: e.Event) -> list[e.Effect]:
        """Handle one event and apply its facts; return its effects."""
        facts, effects = self.pool.handle(event)
        for fact in facts:
            self.pool.apply(fact)
        self.journal += facts
        return effects

    def stamp(self) -> dict[str, int]:
        return {"now_ms": self.now_ms, "at_ms": 1_700_000_000_000 + self.now_ms}

    def join(
        self, node: str = "node-1", devices: int = 1, memory_mib: int = 8192, kind: str = "cpu", overhead_mib: int = 0
    ) -> list[e.Effect]:
        infos = tuple(
            DeviceInfo(device=f"{kind}{i}", kind=kind, model="m", memory_mib=memory_mib, worker_overhead_mib=overhead_mib)
            for i in range(devices)
        )
        return self.send(e.AgentGreeted(**self.stamp(), caller="agent", node=node, door="tcp://127.0.0.1:1", devices=infos))

    def request(
        self,
        compute: int = 25,
        memory: int = 1024,
        *,
        tenant: str = "t",
        request_id: str | None = None,
        wait_ms: int = 0,
        kind: str | None = None,
    ) -> list[e.Effect]:
        number = next(self._callers)
        message = RequestSlice(
            call_id=number,
            request_id=request_id or f"r{number}",
            compute_pct=compute,
            memory_mib=memory,
            policy=Policy.FIXED,
            hold=Hold.ATTACHED,
            kind=kind,
            wait_ms=wait_ms,
        )
        return self.send(e.SliceRequested(**self.stamp(), caller=number, tenant=tenant, holder="test", request=message))

    def release(self, slice_id: str, *, tenant: str | None = "t", request_id: str | None = None) -> list[e.Effect]:
        request_id = request_id or f"x{next(self._callers)}"
        return self.send(e.ReleaseRequested(**self.stamp(), caller="c", tenant=tenant, slice_id=slice_id, request_id=request_id))

    def resize(
        self, slice_id: str, compute: int | None = None, memory: int | None = None, *, tenant: str | None = "t"
    ) -> list[e.Effect]:
        return self.send(
            e.ResizeRequested(
                **self.stamp(),
                caller="c",
                tenant=tenant,
                slice_id=slice_id,
                request_id=f"z{next(self._callers)}",
                compute_pct=compute,
                memory_mib=memory,
            )
        )

    def beat(self, node: str = "node-1", **changes: object) -> list[e.Effect]:
        return self.send(e.AgentBeat(**self.stamp(), caller="agent", node=node, seq=1, **changes))  # type: ignore[arg-type]

    def wait(self, ms: int) -> list[e.Effect]:
        """Let time pass, then tick until nothing happens any more."""
        self.now_ms += ms
        effects: list[e.Effect] = []
        while True:
            before = len(self.journal)
            effects += self.send(e.Ticked(**self.stamp()))
            if len(self.journal) == before:
                return effects

    def replayed(self) -> Pool:
        """Return a pool made of the journal alone."""
        pool = Pool(lambda: "never asked")
        for fact in self.journal:
            pool.apply(f.decode_fact(f.encode_fact(fact)))
        return pool


def granted(effects: list[e.Effect]) -> str:
    """Return the slice that was granted; fail with what was answered instead."""
    (answer,) = [effect for effect in effects if isinstance(effect, e.AnswerSlice | e.AnswerError)]
    assert isinstance(answer, e.AnswerSlice), answer
    return answer.slice_id


def refusal(effects: list[e.Effect]) -> Exception:
    """Return the error that was answered; fail where there was none."""
    (answer,) = [effect for effect in effects if isinstance(effect, e.AnswerError)]
    return answer.error


@pytest.fixture
def driver() -> Iterator[PoolDriver]:
    driver = PoolDriver()
    yield driver
    check(driver.pool)


@pytest.fixture
def make_driver() -> type[PoolDriver]:
    return PoolDriver


@pytest.fixture
def slice_granted() -> Callable[[list[e.Effect]], str]:
    return granted


@pytest.fixture
def refused() -> Callable[[list[e.Effect]], Exception]:
    return refusal
