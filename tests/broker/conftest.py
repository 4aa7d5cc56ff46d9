"""Pools without sockets, and brokers with them; every pool's invariants are checked when its test ends."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.invariants import check
from gpupool_broker.core.placement import DEFAULT_POLICY, Placer
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.scheduling import Rules
from gpupool_wire import codec
from gpupool_wire import messages as m
from gpupool_wire.codec import encode
from gpupool_wire.errors import GpupoolError
from gpupool_wire.messages import DeviceInfo, Message, RequestSlice
from gpupool_wire.units import Hold, Policy
from tests.broker.postgres import PostgresServer, running_postgres


class PoolDriver:
    """Feeds a pool events at a clock of its own, applies and keeps the facts, as the service does."""

    def __init__(self, policy: str = DEFAULT_POLICY, rules: Rules | None = None) -> None:
        numbers = itertools.count(1)
        self.pool = Pool(lambda: str(next(numbers)), Placer(policy), rules)
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
        **more: object,
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
            **more,  # type: ignore[arg-type]
        )
        return self.send(e.SliceRequested(**self.stamp(), caller=number, tenant=tenant, holder="test", request=message))

    def release(self, slice_id: str, *, tenant: str | None = "t", request_id: str | None = None) -> list[e.Effect]:
        request_id = request_id or f"x{next(self._callers)}"
        return self.send(e.ReleaseRequested(**self.stamp(), caller="c", tenant=tenant, slice_id=slice_id, request_id=request_id))

    def resize(
        self,
        slice_id: str,
        compute: int | None = None,
        memory: int | None = None,
        *,
        tenant: str | None = "t",
        request_id: str | None = None,
        deadline_ms: int = 0,
    ) -> list[e.Effect]:
        return self.send(
            e.ResizeRequested(
                **self.stamp(),
                caller="c",
                tenant=tenant,
                slice_id=slice_id,
                request_id=request_id or f"z{next(self._callers)}",
                compute_pct=compute,
                memory_mib=memory,
                deadline_ms=deadline_ms,
            )
        )

    def answer_shrink(self, asked: e.ShrinkSlice, error: GpupoolError | None = None) -> list[e.Effect]:
        """Answer as the slice's agent."""
        return self.send(
            e.ShrinkAnswered(**self.stamp(), node=asked.node, slice_id=asked.slice_id, request_id=asked.request_id, error=error)
        )

    def cordon(self, node: str = "node-1", drain_ms: int | None = None) -> list[e.Effect]:
        return self.send(e.CordonRequested(**self.stamp(), caller="c", node=node, by="admin", drain_ms=drain_ms))

    def uncordon(self, node: str = "node-1") -> list[e.Effect]:
        return self.send(e.UncordonRequested(**self.stamp(), caller="c", node=node, by="admin"))

    def quota(
        self,
        tenant: str = "t",
        compute: int | None = None,
        memory: int | None = None,
        slices: int | None = None,
        *,
        revision: int | None = None,
        **more: int | None,
    ) -> list[e.Effect]:
        return self.send(
            e.QuotaRequested(
                **self.stamp(),
                caller="c",
                tenant=tenant,
                by="admin",
                compute_pct=compute,
                memory_mib=memory,
                slices=slices,
                revision=revision,
                **more,
            )
        )

    def cancel(self, request_id: str, tenant: str | None = "t", caller: object = "c") -> list[e.Effect]:
        return self.send(e.CancelRequested(**self.stamp(), caller=caller, tenant=tenant, request_id=request_id, by="its caller"))

    def pause(self, slice_id: str, tenant: str | None = "t") -> list[e.Effect]:
        return self.send(
            e.PauseRequested(
                **self.stamp(), caller="c", tenant=tenant, slice_id=slice_id, request_id=f"p{next(self._callers)}", by="admin"
            )
        )

    def resume(self, slice_id: str, tenant: str | None = "t") -> list[e.Effect]:
        return self.send(
            e.ResumeRequested(
                **self.stamp(), caller="c", tenant=tenant, slice_id=slice_id, request_id=f"p{next(self._callers)}", by="admin"
            )
        )

    def reserve(
        self,
        tenant: str = "t",
        count: int = 1,
        compute: int = 50,
        memory: int = 1024,
        *,
        after_ms: int = 0,
        for_ms: int = 600_000,
        project: str = "",
    ) -> list[e.Effect]:
        start = self.stamp()["at_ms"] + after_ms
        return self.send(
            e.ReservationRequested(
                **self.stamp(),
                caller="c",
                by="admin",
                request_id=f"v{next(self._callers)}",
                tenant=tenant,
                project=project,
                count=count,
                compute_pct=compute,
                memory_mib=memory,
                kind=None,
                start_at_ms=start,
                end_at_ms=start + for_ms,
            )
        )

    def unreserve(self, reservation_id: str) -> list[e.Effect]:
        return self.send(e.ReservationCancelled(**self.stamp(), caller="c", by="admin", reservation_id=reservation_id))

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


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests that want one."""
    with running_postgres() as server:
        yield server


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


@dataclass(frozen=True, slots=True)
class BrokerProcess:
    """A real broker on free ports."""

    process: subprocess.Popen[bytes]
    url: str
    http: str
    token: str
    home: Path

    def rest(self, method: str, path: str, body: object = None, token: str | None = "admin") -> tuple[int, Any]:
        """Ask REST; return status and JSON (or text)."""
        request = urllib.request.Request(self.http + path, method=method)
        if token:
            request.add_header("Authorization", f"Bearer {self.token if token == 'admin' else token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


class Peer:
    """A raw DEALER that speaks the wire: client or agent."""

    def __init__(self, url: str) -> None:
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(url)

    def send(self, message: Message) -> None:
        self.socket.send_multipart(encode(message))

    def receive(self, timeout_s: float = 10.0) -> Any:
        assert self.socket.poll(int(timeout_s * 1000)), "nothing arrived in time"
        return ANY.decode(self.socket.recv_multipart())[0]

    def ask(self, message: Message) -> Any:
        self.send(message)
        return self.receive()

    def wait_for(self, kind: type[Message], timeout_s: float = 10.0) -> Any:
        """Receive until a message of `kind` is there."""
        deadline = time.monotonic() + timeout_s
        while not isinstance(message := self.receive(max(0.0, deadline - time.monotonic())), kind):
            pass
        return message


ANY = codec.Inbox[Message](m.BrokerToClient | m.BrokerToAgent)


def launch(home: Path, *options: str) -> BrokerProcess:
    """Start a broker in `home` and wait until it serves; fail with its log where it does not."""
    home.mkdir(exist_ok=True)
    ready, token = home / f"ready-{time.monotonic_ns()}.json", home / "admin.token"
    command = [sys.executable, "-m", "gpupool", "broker", "--bind", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    command += ["--home", str(home), "--ready-file", str(ready), "--admin-token-file", str(token), *options]
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log)
    deadline = time.monotonic() + 30
    while not ready.exists():
        assert process.poll() is None, (home / "log").read_text()
        assert time.monotonic() < deadline, (home / "log").read_text()
        time.sleep(0.02)
    return BrokerProcess(process, **json.loads(ready.read_text()), token=token.read_text().strip(), home=home)


def stop(broker: BrokerProcess) -> None:
    """Stop a broker in order, where it has not ended already."""
    if broker.process.poll() is None:
        broker.process.terminate()
        assert broker.process.wait(15) == 0, (broker.home / "log").read_text()


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., BrokerProcess]]:
    """Return a function that starts a broker; the same home may be started again once its process has ended."""
    started: list[BrokerProcess] = []

    def start(home: Path | None = None, *options: str) -> BrokerProcess:
        started.append(launch(home or tmp_path / "home", *options))
        return started[-1]

    yield start
    for broker in started:
        stop(broker)


@pytest.fixture(scope="session")
def empty_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One broker without nodes, for tests that leave it as it was."""
    broker = launch(tmp_path_factory.mktemp("broker") / "home")
    yield broker
    stop(broker)


@pytest.fixture
def peer() -> Iterator[Callable[[str], Peer]]:
    """Return a function that connects a raw peer."""
    peers: list[Peer] = []

    def connect(url: str) -> Peer:
        peers.append(Peer(url))
        return peers[-1]

    yield connect
    for one in peers:
        one.socket.close()


@pytest.fixture
def agent(peer: Callable[[str], Peer]) -> Callable[..., Peer]:
    """Return a function that joins a fake node with one null device to a broker."""

    def join(broker: BrokerProcess, node: str = "node-1", *, memory_mib: int = 8192, credential: str = "") -> Peer:
        token = credential or broker.rest("POST", "/api/v1/tokens", {"role": "join"})[1]["token"]
        one = peer(broker.url)
        info = DeviceInfo(device="null0", kind="null", model="null", memory_mib=memory_mib)
        hello = m.AgentHello(version=m.PROTOCOL_VERSION, node=node, token=token, devices=[info], door="tcp://127.0.0.1:1")
        welcome = one.ask(hello)
        assert isinstance(welcome, m.AgentWelcome), welcome
        one.welcome = welcome  # type: ignore[attr-defined]
        return one

    return join


@pytest.fixture
def client(peer: Callable[[str], Peer]) -> Callable[..., Peer]:
    """Return a function that greets a broker as a client."""

    def greet(broker: BrokerProcess, token: str | None = None) -> Peer:
        one = peer(broker.url)
        welcome = one.ask(m.Hello(version=m.PROTOCOL_VERSION, token=token or broker.token, name="test"))
        assert isinstance(welcome, m.Welcome), welcome
        return one

    return greet
