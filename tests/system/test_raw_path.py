"""Broker, agent and worker as real processes, spoken to in bare messages: nothing of the client library is between."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
import zmq
from onnx import TensorProto, helper

from gpupool_wire.codec import FROM_BROKER, FROM_DOOR, FROM_WORKER, Inbox, encode
from gpupool_wire.messages import (
    PROTOCOL_VERSION,
    AskUsage,
    Failed,
    Hello,
    Join,
    Joined,
    LinkEnded,
    LinkOpened,
    LocateSlice,
    Message,
    ModelMissing,
    ModelStored,
    OpenLink,
    OpenModel,
    Probe,
    PutModel,
    ReleaseSlice,
    RequestSlice,
    ResizeSlice,
    Result,
    Run,
    SessionOpened,
    SignedLease,
    SliceGranted,
    SliceReleased,
    SliceResized,
    Usage,
    Welcome,
)
from gpupool_wire.tensors import Buffer, pack_value, unpack_values
from gpupool_wire.units import Hold

pytestmark = pytest.mark.system

DEADLINE_S = 30.0


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    deadline = time.monotonic() + deadline_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {deadline_s} s: {what}")
        time.sleep(0.01)


class Command:
    """One long-running command of gpupool, started and ended here."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self._log = folder / f"{name}-{uuid.uuid4().hex[:6]}.log"
        ready = self._log.with_suffix(".ready")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GPUPOOL_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gpupool", name, *arguments, "--ready-file", str(ready), "--home", str(folder / "home")],
                stdout=log,
                stderr=log,
                env=environment,
            )
        try:
            wait_until(lambda: ready.exists() or self.process.poll() is not None, f"{name} is ready")
            assert ready.exists(), self.log
        except BaseException:
            self.end(signal.SIGKILL)
            raise
        self.ready: dict[str, str] = json.loads(ready.read_text())

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


class Peer:
    """A DEALER socket that says a message and waits for the answer, probes passed over."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], url: str, inbox: Inbox[Any]) -> None:
        self._socket = context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(url)
        self._inbox = inbox

    def say(self, message: Message, frames: Sequence[Buffer] = ()) -> None:
        self._socket.send_multipart(encode(message, frames))

    def ask(self, message: Message, frames: Sequence[Buffer] = ()) -> tuple[Any, Sequence[Buffer]]:
        self.say(message, frames)
        return self.hear()

    def hear(self, timeout_s: float = DEADLINE_S) -> tuple[Any, Sequence[Buffer]]:
        deadline = time.monotonic() + timeout_s
        while self._socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            message, frames = self._inbox.decode(self._socket.recv_multipart())
            if not isinstance(message, Probe):
                return message, frames
        pytest.fail("no answer")

    def close(self) -> None:
        self._socket.close()


class Pool:
    """A broker and an agent, and what a client says to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._commands: list[Command] = []
        self._peers: list[Peer] = []

    def start(self) -> None:
        self.start_broker()
        self.start_agent()

    def start_broker(self, bind: str = "127.0.0.1:0") -> Command:
        token_file = self.folder / "admin.token"
        options = ("--bind", bind, "--http", "127.0.0.1:0", "--admin-token-file", str(token_file))
        self.broker = Command(self.folder, "broker", *options)
        self._commands.append(self.broker)
        self.token = token_file.read_text().strip()
        return self.broker

    def start_agent(self, node: str = "node-1") -> Command:
        self.agent = Command(
            self.folder,
            "agent",
            *("--broker", self.broker.ready["url"], "--join-token", self.join_token(), "--node", node),
            *("--bind", "127.0.0.1:0", "--worker-ports", "0", "--device", "cpu", "--null", "1", "--cpu-memory", "2GiB"),
            *("--metrics", "none"),
        )
        self._commands.append(self.agent)
        return self.agent

    def join_token(self) -> str:
        request = urllib.request.Request(
            f"{self.broker.ready['http']}/api/v1/tokens",
            data=json.dumps({"role": "join", "name": "test"}).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )

        def ask() -> str:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    token: str = json.load(answer)["token"]
                    return token
            except urllib.error.URLError as error:
                if isinstance(error.reason, ConnectionRefusedError):
                    return ""
                raise

        token: str = wait_until(ask, "the broker's REST answers")
        return token

    def peer(self, url: str, inbox: Inbox[Any]) -> Peer:
        self._peers.append(Peer(self.context, url, inbox))
        return self._peers[-1]

    def client(self) -> Peer:
        peer = self.peer(self.broker.ready["url"], FROM_BROKER)
        welcome, _ = peer.ask(Hello(version=PROTOCOL_VERSION, token=self.token))
        assert isinstance(welcome, Welcome), welcome
        return peer

    def grant(self, client: Peer, *, kind: str = "cpu", compute_pct: int = 50, hold: Hold = Hold.ATTACHED) -> SliceGranted:
        answer, _ = client.ask(
            RequestSlice(call_id=1, request_id=uuid.uuid4().hex, compute_pct=compute_pct, memory_mib=256, kind=kind, hold=hold)
        )
        assert isinstance(answer, SliceGranted), answer
        return answer

    def open(self, granted: SliceGranted, lease: SignedLease | None = None, *, holder: bool = True) -> Any:
        door = self.peer(granted.door, FROM_DOOR)
        answer, _ = door.ask(OpenLink(version=PROTOCOL_VERSION, lease=lease or granted.lease, holder=holder))
        door.close()
        return answer

    def join(self, opened: LinkOpened) -> Peer:
        channel = self.peer(opened.worker, FROM_WORKER)
        joined, _ = channel.ask(Join(version=PROTOCOL_VERSION, ticket=opened.ticket))
        assert isinstance(joined, Joined), joined
        return channel

    def workers(self) -> list[psutil.Process]:
        children: list[psutil.Process] = psutil.Process(self.agent.process.pid).children()
        return children

    def end(self) -> None:
        for peer in self._peers:
            peer.close()
        self.context.term()
        for command in reversed(self._commands):
            assert command.end() in {0, -signal.SIGKILL}, command.log


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(tmp_path)
    try:
        pool.start()
        yield pool
    finally:
        pool.end()


@pytest.fixture(scope="module")
def doubling() -> bytes:
    """A model whose output is twice its input."""
    shape = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [None]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [None]),
    )
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "doubling", [shape[0]], [shape[1]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def open_model(channel: Peer, model: bytes) -> SessionOpened:
    sha256 = hashlib.sha256(model).hexdigest()
    answer, _ = channel.ask(OpenModel(call_id=1, sha256=sha256, nbytes=len(model)))
    if isinstance(answer, ModelMissing):
        stored, _ = channel.ask(PutModel(call_id=2, sha256=sha256, offset=0, nbytes=len(model)), [model])
        assert stored == ModelStored(call_id=2, sha256=sha256, complete=True)
        answer, _ = channel.ask(OpenModel(call_id=3, sha256=sha256, nbytes=len(model)))
    assert isinstance(answer, SessionOpened), answer
    return answer


def run(channel: Peer, session: SessionOpened, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    spec, frames = pack_value(x)
    result, out = channel.ask(Run(call_id=4, session_id=session.session_id, feed=[("x", spec)]), frames)
    assert isinstance(result, Result), result
    (y,) = unpack_values(result.outputs, out)
    assert isinstance(y, np.ndarray)
    return y


def test_a_slice_from_request_to_release(pool: Pool, doubling: bytes) -> None:
    client = pool.client()
    granted = pool.grant(client)
    channel = pool.join(pool.open(granted))
    session = open_model(channel, doubling)
    x = np.arange(1000, dtype=np.float32)
    assert np.array_equal(run(channel, session, x), 2 * x)

    resized, _ = client.ask(ResizeSlice(call_id=5, request_id="r", slice_id=granted.slice_id, compute_pct=80, memory_mib=512))
    assert isinstance(resized, SliceResized), resized

    def usage() -> Usage:
        answer, _ = channel.ask(AskUsage(call_id=6))
        assert isinstance(answer, Usage), answer
        return answer

    wait_until(lambda: (usage().compute_pct, usage().memory_limit_bytes) == (80, 512 * 1024**2), "the resize arrives")
    assert usage().calls == 1

    released, _ = client.ask(ReleaseSlice(call_id=7, request_id="e", slice_id=granted.slice_id))
    assert isinstance(released, SliceReleased), released
    ended, _ = channel.hear()
    assert isinstance(ended, LinkEnded)
    assert ended.error.code == "lease_lost"
    wait_until(lambda: not pool.workers(), "the worker is gone")
    refused = pool.open(granted)
    assert isinstance(refused, Failed)
    assert refused.error.code == "lease_lost"


def test_an_attached_slice_ends_with_its_client(pool: Pool) -> None:
    client = pool.client()
    granted = pool.grant(client)
    channel = pool.join(pool.open(granted))
    started = time.monotonic()
    channel.close()  # as a process that was killed does: without a word

    def located() -> Any:
        return client.ask(LocateSlice(call_id=8, slice_id=granted.slice_id))[0]

    wait_until(lambda: isinstance(located(), Failed), "the slice is taken back")
    assert time.monotonic() - started < 5
    wait_until(lambda: not pool.workers(), "the worker is gone")


def test_a_held_slice_outlives_its_clients(pool: Pool) -> None:
    client = pool.client()
    granted = pool.grant(client, hold=Hold.HELD)
    pool.join(pool.open(granted)).close()
    with pytest.raises(pytest.fail.Exception):
        wait_until(
            lambda: isinstance(client.ask(LocateSlice(call_id=8, slice_id=granted.slice_id))[0], Failed), "never", deadline_s=6
        )


def test_a_worker_that_dies_takes_only_its_own_sessions(pool: Pool, doubling: bytes) -> None:
    client = pool.client()
    first, second = pool.grant(client), pool.grant(client)
    doomed, other = pool.join(pool.open(first)), pool.join(pool.open(second))
    session = open_model(other, doubling)
    opened = open_model(doomed, doubling)
    x = np.ones(3, np.float32)
    assert np.array_equal(run(doomed, opened, x), 2 * x)
    oldest, _ = sorted(pool.workers(), key=lambda process: process.create_time())
    oldest.kill()
    assert np.array_equal(run(other, session, x), 2 * x)
    wait_until(lambda: len(pool.workers()) == 1, "the dead worker is reaped")
    again = pool.join(pool.open(first))
    assert np.array_equal(run(again, open_model(again, doubling), x), 2 * x)


def test_a_killed_agent_takes_its_workers_along_and_joins_again(pool: Pool) -> None:
    client = pool.client()
    granted = pool.grant(client, hold=Hold.HELD)
    pool.join(pool.open(granted))
    workers = pool.workers()
    assert workers
    pool.agent.end(signal.SIGKILL)
    psutil.wait_procs(workers, timeout=5)
    assert not [worker for worker in workers if worker.is_running()]
    pool.start_agent()

    def located() -> SliceGranted | None:
        answer, _ = client.ask(LocateSlice(call_id=8, slice_id=granted.slice_id))
        return answer if isinstance(answer, SliceGranted) else None

    moved = wait_until(located, "the slice has a place again")
    assert isinstance(pool.open(moved), LinkOpened)


def test_sessions_outlive_a_killed_broker(pool: Pool, doubling: bytes) -> None:
    client = pool.client()
    granted = pool.grant(client)
    channel = pool.join(pool.open(granted))
    session = open_model(channel, doubling)
    x = np.ones(3, np.float32)
    url = pool.broker.ready["url"]
    pool.broker.end(signal.SIGKILL)
    assert np.array_equal(run(channel, session, x), 2 * x)
    guest = pool.open(granted, holder=False)
    assert isinstance(guest, LinkOpened)
    pool.start_broker(url)
    client = pool.client()
    wait_until(
        lambda: isinstance(client.ask(LocateSlice(call_id=8, slice_id=granted.slice_id))[0], SliceGranted), "the slice is there"
    )
    assert np.array_equal(run(channel, session, x), 2 * x)


@pytest.mark.parametrize(
    "count", [50, pytest.param(1_000, marks=[pytest.mark.full, pytest.mark.timeout(1_800)])], ids=["50", "1000"]
)
def test_slices_leave_nothing_behind(pool: Pool, count: int) -> None:
    client = pool.client()
    agent = psutil.Process(pool.agent.process.pid)

    def cycle(size: int) -> None:
        grants = [pool.grant(client, kind="null", compute_pct=10, hold=Hold.HELD) for _ in range(size)]
        doors = [pool.peer(granted.door, FROM_DOOR) for granted in grants]
        for granted, door in zip(grants, doors, strict=True):
            door.say(OpenLink(version=PROTOCOL_VERSION, lease=granted.lease, holder=True))
        channels = [pool.join(door.hear()[0]) for door in doors]
        for granted, channel in zip(grants, channels, strict=True):
            released, _ = client.ask(ReleaseSlice(call_id=7, request_id=uuid.uuid4().hex, slice_id=granted.slice_id))
            assert isinstance(released, SliceReleased)
            assert isinstance(channel.hear()[0], LinkEnded)
        for peer in [*channels, *doors]:
            peer.close()
        wait_until(lambda: not agent.children(), "the workers are gone")

    cycle(10)
    descriptors, sockets, threads = agent.num_fds(), len(agent.net_connections()), agent.num_threads()
    for _ in range(count // 10):
        cycle(10)
    # Sockets of the door end with their clients, a moment later.
    wait_until(lambda: agent.num_fds() <= descriptors, f"{descriptors} descriptors again")
    wait_until(lambda: len(agent.net_connections()) <= sockets, f"{sockets} sockets again")
    assert agent.num_threads() <= threads
    assert not list((pool.folder / "home" / "agent" / "scratch").iterdir())
