"""Two brokers on one PostgreSQL, an agent, a client at work: the broker that serves is killed again and again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpupool
from gpupool.control import Control
from gpupool.daemons import Daemon
from gpupool.rest import RestClient
from gpupool_broker.core.invariants import check
from gpupool_broker.core.pool import Pool
from gpupool_broker.recovery import Recovery
from gpupool_broker.store.sql import SqlStore
from gpupool_wire.messages import RequestSlice, SliceGranted
from gpupool_wire.units import Hold
from tests.broker.postgres import running_postgres
from tests.system.conftest import WholePool

pytestmark = pytest.mark.system

X = np.arange(6, dtype=np.float32)
KILLS = 3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PairPool(WholePool):
    """A pool with two brokers on one database, either of which may serve."""

    def __init__(self, folder: Path, database: str) -> None:
        self.database = database
        self.at = [(free_port(), free_port()) for _ in range(2)]
        self.brokers: list[Daemon] = []
        super().__init__(folder)
        self.start_standby(1)
        self.url = ",".join(f"tcp://127.0.0.1:{control}" for control, _ in self.at)
        self.http = ",".join(f"http://127.0.0.1:{rest}" for _, rest in self.at)
        self.rest = RestClient(self.http, self.token)
        self.environ |= {"GPUPOOL_URL": self.url, "GPUPOOL_HTTP": self.http}

    def start_broker(self, *more: str) -> None:
        self.url, self.http = (f"{scheme}://127.0.0.1:{port}" for scheme, port in zip(("tcp", "http"), self.at[0], strict=True))
        super().start_broker("--standby", "--database", self.database, *more)
        self.brokers = [self.broker]

    def start_standby(self, number: int) -> None:
        """Start a broker at its addresses beside the one that serves."""
        control, rest = self.at[number]
        home = self.home / f"broker-{number}-{time.monotonic_ns()}"
        options = ["--standby", "--database", self.database, "--home", str(home)]
        options += ["--bind", f"127.0.0.1:{control}", "--http", f"127.0.0.1:{rest}"]
        self.brokers[number:] = [Daemon("broker", options, folder=home, environ=self.environ), *self.brokers[number + 1 :]]

    def close(self) -> None:
        for daemon in [*self.agents.values(), *self.brokers]:
            daemon.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[PairPool]:
    with running_postgres() as server:
        pool = PairPool(tmp_path, server.new_database())
        try:
            pool.start_agent("one", "--null", "8")
            yield pool
        finally:
            pool.close()


class Work(threading.Thread):
    """Does something over and over until told to stop; an error ends it and is kept."""

    def __init__(self, step: Callable[[int], None]) -> None:
        super().__init__(daemon=True)
        self._step = step
        self._is_over = threading.Event()
        self.steps = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._is_over.is_set():
                self._step(self.steps)
                self.steps += 1
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        self._is_over.set()
        self.join(30)
        assert self.error is None
        assert not self.is_alive()


def test_whoever_is_killed_the_other_grants_within_five_seconds(pair: PairPool, doubling: bytes, until: Any, killed: Any) -> None:
    granted: dict[int, str] = {}
    control = Control(pair.url, pair.token)

    def request(number: int) -> str:
        question = RequestSlice(
            call_id=number + 1, request_id=f"r{number}", compute_pct=1, memory_mib=1, kind="null", hold=Hold.HELD
        )
        return control._ask(question, SliceGranted).slice_id

    def allocate(number: int) -> None:
        granted[number] = request(number)
        time.sleep(0.02)  # a pace, so that the kills come in the middle

    with gpupool.connect(pair.url, pair.token) as pool, pool.slice(10, "64MiB", kind="cpu") as held:
        model = held.open_model(doubling)

        def infer(_number: int) -> None:
            assert np.array_equal(model.run({"x": X})[0], X + X)

        allocations, calls = Work(allocate), Work(infer)
        allocations.start()
        calls.start()
        for kill in range(KILLS):
            grants_after_a_kill(pair, kill % 2, allocations, until, killed)
            # The agent is back at work there: a new slice can be opened.
            with pool.slice(5, "64MiB", kind="cpu") as another:
                assert np.array_equal(another.open_model(doubling).run({"x": X})[0], X + X)
        allocations.finish()
        calls.finish()
        assert pair.slices()[0]["slice_id"] == held.slice_id

        repeated = {number: request(number) for number in granted}
        assert repeated == granted
        live = [row["slice_id"] for row in pair.slices() if row["slice_id"] != held.slice_id]
        assert sorted(live) == sorted(granted.values())
        assert [row["state"] for row in pair.rest.get("/nodes")] == ["up"]
        control.close()
    pair.close()
    the_journal_tells_the_same(pair.database, set(granted.values()))


def grants_after_a_kill(pair: PairPool, active: int, allocations: Work, until: Any, killed: Any) -> None:
    """Kill the broker that serves in the middle of allocations; the other one goes on with them. Start it again to stand by."""
    some = allocations.steps + 10
    until(lambda: allocations.steps > some)
    killed(pair.brokers[active])
    # One may have been on its way.
    more = allocations.steps + 2
    assert until(lambda: allocations.steps > more or allocations.error, 15) < 5, allocations.error
    pair.brokers[active].stop()
    pair.start_standby(active)
    assert pair.rest.get("/whoami")["role"] == "admin"
    assert pair.rest.address.endswith(str(pair.at[1 - active][1]))


def the_journal_tells_the_same(database: str, slices: set[str]) -> None:
    store = SqlStore(database)
    try:
        assert not list(store.journal.faults())
        pool = Pool(lambda: "never asked")
        Recovery(store).restore(pool)
        check(pool)
        assert {slice_id for slice_id, slice_ in pool.slices.items() if not slice_.state.is_over} == slices
    finally:
        store.close()
