"""A whole pool of fakes that speak the wire: broker, door and worker, each a ROUTER in a thread, ready to be killed."""

from __future__ import annotations

import collections
import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from gpupool.control import Control
from gpupool.grant import Grant, grant_of
from gpupool.pool import Pool
from gpupool_wire import messages as m
from gpupool_wire.codec import AT_DOOR, AT_WORKER, FROM_CLIENT, Inbox, encode, encode_lease
from gpupool_wire.errors import GpupoolError, LeaseLost, NotAuthorized, NotFound, RemoteProtocolError, SliceRefused, TensorMissing
from gpupool_wire.tensors import pack_values, unpack_values
from gpupool_wire.units import Hold, Policy

Answers = list[tuple[m.Message, Sequence[Any]]]
TOKEN = "gpp_tenant_letmein"


class Host(threading.Thread):
    """A ROUTER on a loopback port whose `answer` says what to reply. `kill` closes it as a crash would."""

    inbox: Inbox[Any]

    def __init__(self, port: int = 0) -> None:
        super().__init__(daemon=True)
        self.heard: list[m.Message] = []
        #: What a test has this host say unasked: its socket belongs to its thread.
        self.to_say: collections.deque[m.Message] = collections.deque()
        self.peers: set[bytes] = set()
        self.failed: BaseException | None = None
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.router_mandatory = True
        self._socket.bind(f"tcp://127.0.0.1:{port or '*'}")
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.stopping = threading.Event()
        self.start()

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    def run(self) -> None:
        try:
            while not self.stopping.is_set():
                if self._socket.poll(20):
                    peer, *frames = self._socket.recv_multipart()
                    self._turn(peer, frames)
                while self.to_say:
                    message = self.to_say.popleft()
                    for peer in list(self.peers):
                        self.send(peer, message)
                self.idle()
        except zmq.ZMQError as error:
            if not self.stopping.is_set():
                self.failed = error
        except Exception as error:
            self.failed = error
        finally:
            self._socket.close(0)
            self._context.term()

    def _turn(self, peer: bytes, frames: list[bytes]) -> None:
        message, payload = self.inbox.decode(frames)
        self.heard.append(message)
        try:
            answers = self.answer(peer, message, payload)
        except GpupoolError as error:
            answers = [(m.Failed(error=error.to_info(), call_id=getattr(message, "call_id", 0)), [])]
        for reply, parts in answers:
            self.send(peer, reply, parts)

    def send(self, peer: bytes, message: m.Message, frames: Sequence[Any] = ()) -> bool:
        try:
            self._socket.send_multipart([peer, *encode(message, frames)])
        except zmq.ZMQError:
            return False
        return True

    def idle(self) -> None:
        """What to do between two messages."""

    def answer(self, peer: bytes, message: Any, frames: Sequence[Any]) -> Answers:
        raise NotImplementedError

    def kill(self) -> None:
        self.stopping.set()
        self.join(5)
        if self.failed:
            raise self.failed


class FakeWorker(Host):
    """Computes x * 2 for every input of its one kind of model. Answers like a worker, and dies when told to."""

    inbox = AT_WORKER

    def __init__(self, port: int = 0) -> None:
        self.store: dict[str, bytes] = {}
        self.sessions: dict[int, str] = {}
        self.closed: list[int] = []
        self.tensors: dict[bytes, Any] = {}
        self.left: list[bytes] = []
        self.before_run: Callable[[FakeWorker], None] | None = None
        self.timing = m.Timing(queue_ns=1_000, throttle_ns=2_000, execute_ns=3_000)
        self.weight = itertools.count(1)
        self._next_probe = time.monotonic() + 0.2
        super().__init__(port)

    def idle(self) -> None:
        if time.monotonic() < self._next_probe:
            return
        self._next_probe = time.monotonic() + 0.2
        for peer in list(self.peers):
            if not self.send(peer, m.Probe()):
                self.peers.discard(peer)

    def answer(self, peer: bytes, message: Any, frames: Sequence[Any]) -> Answers:
        match message:
            case m.Join():
                self.peers.add(peer)
                return [(m.Joined(version=m.PROTOCOL_VERSION, device="cpu0", kind="cpu", providers=["CPUExecutionProvider"]), [])]
            case m.Leave():
                self.left.append(peer)
                self.peers.discard(peer)
                return []
            case m.OpenModel():
                stored = self.store.get(message.sha256, b"")
                if hashlib.sha256(stored).hexdigest() != message.sha256:
                    return [(m.ModelMissing(call_id=message.call_id, sha256=message.sha256, offset=len(stored)), [])]
                session_id = next(self.weight)
                self.sessions[session_id] = message.sha256
                return [(self._opened(message.call_id, session_id), [])]
            case m.PutModel():
                part = self.store.setdefault(message.sha256, b"")
                assert message.offset == len(part)
                self.store[message.sha256] = part + bytes(frames[0])
                complete = hashlib.sha256(self.store[message.sha256]).hexdigest() == message.sha256
                return [(m.ModelStored(call_id=message.call_id, sha256=message.sha256, complete=complete), [])]
            case m.Run():
                return self._run(message, frames)
            case m.CloseSession():
                self.sessions.pop(message.session_id, None)
                self.closed.append(message.session_id)
                return [(m.SessionClosed(call_id=message.call_id, session_id=message.session_id), [])]
            case m.AskUsage():
                return [(self._usage(message.call_id), [])]
        raise RemoteProtocolError(f"unexpected {message}")

    def _run(self, message: m.Run, frames: Sequence[Any]) -> Answers:
        if self.before_run is not None:
            self.before_run(self)
            if self.stopping.is_set():
                return []
        if message.session_id not in self.sessions:
            raise NotFound(f"there is no session {message.session_id}")
        specs = [spec for _, spec in message.feed]
        values = unpack_values(specs, frames, self._find)
        self.tensors.update(
            {spec.digest: value for spec, value in zip(specs, values, strict=True) if getattr(spec, "digest", b"")}
        )
        specs, parts = pack_values([value * 2 for value in values])
        return [(m.Result(call_id=message.call_id, outputs=specs, timing=self.timing), parts)]

    def _find(self, spec: Any) -> Any:
        if spec.digest not in self.tensors:
            raise TensorMissing("it is not kept")
        return self.tensors[spec.digest]

    @staticmethod
    def _opened(call_id: int, session_id: int) -> m.SessionOpened:
        x = m.TensorInfo(name="x", type="tensor(float)", shape=["n"])
        y = m.TensorInfo(name="y", type="tensor(float)", shape=["n"])
        return m.SessionOpened(
            call_id=call_id,
            session_id=session_id,
            inputs=[x],
            outputs=[y],
            initializers=[],
            meta=m.ModelMeta(graph_name="double"),
            providers=["CPUExecutionProvider"],
        )

    @staticmethod
    def _usage(call_id: int) -> m.Usage:
        return m.Usage(
            call_id=call_id,
            compute_pct=25,
            policy=Policy.FIXED,
            memory_limit_bytes=2**31,
            memory_used_bytes=7,
            device_ns=5,
            throttled_ns=6,
            calls=3,
        )


class FakeDoor(Host):
    """Opens a link to `worker` for every slice in its table."""

    inbox = AT_DOOR

    def __init__(self, worker: FakeWorker, port: int = 0) -> None:
        self.worker = worker
        self.slices: set[str] | None = None
        self.refusal: GpupoolError | None = None
        super().__init__(port)

    def answer(self, peer: bytes, message: Any, frames: Sequence[Any]) -> Answers:
        assert isinstance(message, m.OpenLink)
        if self.refusal is not None:
            raise self.refusal
        return [(m.LinkOpened(worker=self.worker.address, ticket=b"t" * 16, link_id=f"link-{len(self.heard)}"), [])]


class FakeBroker(Host):
    """Grants every slice of up to 100 % on the node of `door`, and remembers what it was asked."""

    inbox = FROM_CLIENT

    def __init__(self, door: FakeDoor | None = None, port: int = 0, version: int = m.PROTOCOL_VERSION) -> None:
        self.door = door
        self.version = version
        self.granted: dict[str, m.RequestSlice] = {}
        self.ended: set[str] = set()
        self.epoch = 1
        self.locate_errors: list[GpupoolError] = []
        self.silent_to: type[m.Message] | None = None
        super().__init__(port)

    def answer(self, peer: bytes, message: Any, frames: Sequence[Any]) -> Answers:
        if isinstance(message, m.Hello):
            if message.token != TOKEN:
                raise NotAuthorized("this token is not known: ask your admin for one")
            self.peers.add(peer)
            return [(m.Welcome(version=self.version, broker="fake", tenant="acme"), [])]
        if peer not in self.peers:
            return [(m.Failed(error=RemoteProtocolError("greet first").to_info()), [])]
        if self.silent_to is not None and isinstance(message, self.silent_to):
            return []
        return [(self._reply(message), [])]

    def _reply(self, message: Any) -> m.Message:
        match message:
            case m.Ping():
                return m.Pong(call_id=message.call_id)
            case m.RequestSlice():
                if message.memory_mib > 4096:
                    raise SliceRefused(f"{message.memory_mib} MiB asked, 4096 MiB is the most", asked_mib=message.memory_mib)
                slice_id = next((key for key, asked in self.granted.items() if asked.request_id == message.request_id), None)
                slice_id = slice_id or f"slice-{len(self.granted) + 1}"
                self.granted[slice_id] = message
                return self._grant(message.call_id, slice_id)
            case m.LocateSlice():
                if self.locate_errors:
                    raise self.locate_errors.pop(0)
                if message.slice_id not in self.granted or message.slice_id in self.ended:
                    raise LeaseLost(f"slice {message.slice_id} was released")
                return self._grant(message.call_id, message.slice_id)
            case m.ResizeSlice():
                self.epoch += 1
                asked = self.granted[message.slice_id]
                return m.SliceResized(
                    call_id=message.call_id,
                    slice_id=message.slice_id,
                    epoch=self.epoch,
                    compute_pct=message.compute_pct or asked.compute_pct,
                    memory_mib=message.memory_mib or asked.memory_mib,
                )
            case m.ReleaseSlice():
                if message.slice_id in self.ended:
                    raise NotFound(f"there is no slice {message.slice_id}")
                self.ended.add(message.slice_id)
                return m.SliceReleased(call_id=message.call_id, slice_id=message.slice_id)
        raise RemoteProtocolError(f"unexpected {message}")

    def _grant(self, call_id: int, slice_id: str) -> m.SliceGranted:
        asked = self.granted[slice_id]
        assert self.door is not None
        return granted(slice_id, self.door.address, epoch=self.epoch, call_id=call_id, asked=asked)


def granted(slice_id: str, door: str, *, epoch: int = 1, call_id: int = 1, asked: m.RequestSlice | None = None) -> m.SliceGranted:
    compute_pct = asked.compute_pct if asked else 25
    memory_mib = asked.memory_mib if asked else 64
    policy = asked.policy if asked else Policy.FIXED
    lease = m.Lease(
        slice_id=slice_id,
        epoch=epoch,
        tenant="acme",
        node="n1",
        device="cpu0",
        compute_pct=compute_pct,
        memory_mib=memory_mib,
        policy=policy,
        hold=Hold.ATTACHED,
    )
    return m.SliceGranted(
        call_id=call_id,
        lease=m.SignedLease(payload=encode_lease(lease), signature=b"s" * 64),
        slice_id=slice_id,
        epoch=epoch,
        node="n1",
        device="cpu0",
        kind="cpu",
        model="A Processor",
        compute_pct=compute_pct,
        memory_mib=memory_mib,
        policy=policy,
        door=door,
    )


class FakePool:
    """Broker, door and worker, and the means to replace each."""

    def __init__(self) -> None:
        self.worker = FakeWorker()
        self.door = FakeDoor(self.worker)
        self.broker = FakeBroker(self.door)
        self._all: list[Host] = [self.worker, self.door, self.broker]

    def new_worker(self) -> FakeWorker:
        """Start another worker behind the same door, as an agent does when one dies."""
        self.worker = self.door.worker = FakeWorker()
        self._all.append(self.worker)
        return self.worker

    def new_node(self) -> FakeDoor:
        """Start another agent with a worker of its own; the broker places slices there from now on."""
        worker = self.worker = FakeWorker()
        self.door = FakeDoor(worker)
        self.broker.door = self.door
        self.broker.epoch += 1
        self._all += [worker, self.door]
        return self.door

    def new_broker(self) -> FakeBroker:
        """Restart the broker at its address. It remembers its slices, and no connection."""
        old = self.broker
        old.kill()
        self.broker = FakeBroker(self.door, old.port)
        self.broker.granted, self.broker.ended, self.broker.epoch = old.granted, old.ended, old.epoch
        self._all.append(self.broker)
        return self.broker

    def control(self, *, token: str = TOKEN, timeout_s: float = 5.0) -> Control:
        return Control(self.broker.address, token, timeout_s=timeout_s)

    def grant(self, slice_id: str = "slice-1") -> Grant:
        return grant_of(granted(slice_id, self.door.address, epoch=self.broker.epoch))

    def close(self) -> None:
        for host in self._all:
            host.kill()


@pytest.fixture
def fakes() -> Iterator[FakePool]:
    pool = FakePool()
    yield pool
    pool.close()


@pytest.fixture
def pool(fakes: FakePool) -> Iterator[Pool]:
    control = fakes.control()
    control.connect()
    with Pool(control) as connected:
        yield connected


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of its own, and none of the caller's settings."""
    for name in ("GPUPOOL_URL", "GPUPOOL_TOKEN", "GPUPOOL_SLICE", "GPUPOOL_COMPUTE", "GPUPOOL_MEMORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPUPOOL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until something holds, with a deadline."""

    def wait(holds: Callable[[], bool], within_s: float = 10.0) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, f"it did not come true within {within_s} s"
            time.sleep(0.01)

    return wait


@pytest.fixture
def numbers() -> Any:
    return np.arange(5, dtype=np.float32)
