"""Real worker processes, without agent or broker, and clients that speak frames to them."""

from __future__ import annotations

import hashlib
import itertools
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import pytest
import zmq
from onnx import TensorProto, helper, numpy_helper

from gpupool_agent.standalone import StandaloneWorker
from gpupool_wire import messages as m
from gpupool_wire.addresses import parse_address
from gpupool_wire.codec import FROM_WORKER, encode
from gpupool_wire.errors import from_info
from gpupool_wire.stream import Inflow, Outflow, laid_out
from gpupool_wire.tensors import Buffer, Value, pack_values, unpack_values

T = TypeVar("T", bound=m.Message)
PART_BYTES = 1 << 20


class Client:
    """One channel of a link: blocking, one call at a time, and whatever frames a test wants to send."""

    def __init__(self, context: zmq.Context[Any], address: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.rcvtimeo = 30_000
        parsed = parse_address(address, 0)
        if parsed.key:
            self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
            self.socket.curve_serverkey = bytes.fromhex(parsed.key)
        self.socket.connect(parsed.zmq)
        self._ids = itertools.count(1)

    def send(self, message: m.Message, frames: Sequence[Buffer] = ()) -> None:
        self.socket.send_multipart(encode(message, frames), copy=False)

    def receive(self) -> tuple[m.Message, Sequence[Buffer]]:
        """Return the next message that is no probe."""
        while True:
            parts = self.socket.recv_multipart(copy=False)
            message, frames = FROM_WORKER.decode([part.buffer for part in parts])
            if not isinstance(message, m.Probe):
                return message, frames

    def ask(self, message: m.Message, frames: Sequence[Buffer] = ()) -> m.Message:
        self.send(message, frames)
        return self.receive()[0]

    def expect(self, kind: type[T], message: m.Message, frames: Sequence[Buffer] = ()) -> T:
        """Ask; return the answer if it is of that kind, raise the error if it is one."""
        answer = self.ask(message, frames)
        if isinstance(answer, m.Failed):
            raise from_info(answer.error)
        assert isinstance(answer, kind), answer
        return answer

    def join(self, ticket: bytes) -> m.Joined:
        return self.expect(m.Joined, m.Join(version=m.PROTOCOL_VERSION, ticket=ticket))

    def upload(self, model: bytes, *, part_bytes: int = PART_BYTES) -> None:
        sha256 = hashlib.sha256(model).hexdigest()
        for offset in range(0, len(model), part_bytes):
            put = m.PutModel(call_id=next(self._ids), sha256=sha256, offset=offset, nbytes=len(model))
            stored = self.expect(m.ModelStored, put, [model[offset : offset + part_bytes]])
        assert stored.complete

    def open(self, model: bytes, options: m.ModelOptions | None = None) -> m.SessionOpened:
        """Open a session, with an upload where the worker asks for one."""
        sha256 = hashlib.sha256(model).hexdigest()
        request = m.OpenModel(call_id=next(self._ids), sha256=sha256, nbytes=len(model), options=options or m.ModelOptions())
        answer = self.ask(request)
        if isinstance(answer, m.ModelMissing):
            self.upload(model)
            answer = self.ask(request)
        if isinstance(answer, m.Failed):
            raise from_info(answer.error)
        assert isinstance(answer, m.SessionOpened)
        return answer

    def send_run(
        self, session_id: int, feed: Mapping[str, Value], outputs: list[str] | None = None, config: dict[str, str] | None = None
    ) -> int:
        call_id = next(self._ids)
        specs, frames = pack_values(feed.values())
        run = m.Run(
            call_id=call_id,
            session_id=session_id,
            feed=list(zip(feed, specs, strict=True)),
            outputs=outputs,
            run_config=config or {},
        )
        self.send(run, frames)
        return call_id

    def result(self) -> list[Value]:
        answer, frames = self.receive()
        if isinstance(answer, m.Failed):
            raise from_info(answer.error)
        assert isinstance(answer, m.Result)
        self.timing = answer.timing
        return unpack_values(answer.outputs, frames)

    def run(
        self, session_id: int, feed: Mapping[str, Value], outputs: list[str] | None = None, config: dict[str, str] | None = None
    ) -> list[Value]:
        self.send_run(session_id, feed, outputs, config)
        return self.result()

    def usage(self) -> m.Usage:
        return self.expect(m.Usage, m.AskUsage(call_id=next(self._ids)))

    def close(self) -> None:
        self.socket.close(linger=0)


class NearClient(Client):
    """A client whose one channel is a stream."""

    def __init__(self, name: str) -> None:
        super().__init__(zmq.Context.instance(), "tcp://127.0.0.1:1")
        self.socket.close(0)
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.settimeout(30)
        self.stream.connect("\0" + name)
        self.inflow = Inflow()
        self._arrived: deque[list[Buffer]] = deque()

    def send(self, message: m.Message, frames: Sequence[Buffer] = ()) -> None:
        outflow = Outflow(laid_out(encode(message, frames), self.inflow.arena))
        while not outflow.is_done:
            outflow.sent(self.stream.sendmsg(outflow.views()))

    def receive(self) -> tuple[m.Message, Sequence[Buffer]]:
        while not self._arrived:
            nbytes = self.stream.recvmsg_into(self.inflow.room())[0]
            if not nbytes:
                raise EOFError
            self._arrived += self.inflow.took(nbytes)
        return FROM_WORKER.decode(self._arrived.popleft())

    def close(self) -> None:
        self.stream.close()


def serialized(graph: onnx.GraphProto, **imports: int) -> bytes:
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, version) for domain, version in imports.items())]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString())


def doubling_model() -> bytes:
    """y = x + x, for any length."""
    info = helper.make_tensor_value_info
    node = helper.make_node("Add", ["x", "x"], ["y"])
    return serialized(
        helper.make_graph([node], "doubling", [info("x", TensorProto.FLOAT, ["n"])], [info("y", TensorProto.FLOAT, ["n"])])
    )


def filling_model() -> bytes:
    """y = zeros of the shape asked for: memory as large as the caller likes."""
    info = helper.make_tensor_value_info
    node = helper.make_node("ConstantOfShape", ["shape"], ["y"])
    return serialized(
        helper.make_graph([node], "filling", [info("shape", TensorProto.INT64, [1])], [info("y", TensorProto.FLOAT, ["n"])])
    )


def weighty_model(mib: int) -> bytes:
    """y = x + w with so many MiB of weights."""
    info = helper.make_tensor_value_info
    weights = numpy_helper.from_array(np.ones(mib * 1024 * 256, np.float32), "w")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node], "weighty", [info("x", TensorProto.FLOAT, [1])], [info("y", TensorProto.FLOAT, ["n"])], [weights]
    )
    return serialized(graph)


def slow_model(size: int = 640, steps: int = 12) -> bytes:
    """Matrix products, one after the other: tens of milliseconds of work."""
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("MatMul", [f"x{i}", "x0"], [f"x{i + 1}"]) for i in range(steps)]
    shape = [size, size]
    graph = helper.make_graph(
        nodes, "slow", [info("x0", TensorProto.FLOAT, shape)], [info(f"x{steps}", TensorProto.FLOAT, shape)]
    )
    return serialized(graph)


class Models:
    """Small models by name."""

    doubling = staticmethod(doubling_model)
    filling = staticmethod(filling_model)
    weighty = staticmethod(weighty_model)
    slow = staticmethod(slow_model)
    serialized = staticmethod(serialized)


@pytest.fixture
def models() -> type[Models]:
    return Models


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., StandaloneWorker]]:
    """Start workers; they are stopped when the test is over."""
    started: list[StandaloneWorker] = []

    def start(**options: Any) -> StandaloneWorker:
        worker = StandaloneWorker(tmp_path / f"worker-{len(started)}", **options)
        worker.__enter__()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.close()


@pytest.fixture(scope="module")
def shared_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneWorker]:
    """One cpu worker for all tests of a module that leave it as they found it."""
    with StandaloneWorker(tmp_path_factory.mktemp("worker"), kind="cpu", memory_mib=512) as worker:
        yield worker
        assert worker.is_running


@pytest.fixture
def connect(context: zmq.Context[Any]) -> Iterator[Callable[..., Client]]:
    """Make clients: of a worker and a ticket, or not yet joined."""
    clients: list[Client] = []

    def make(worker: StandaloneWorker, ticket: bytes | None = None) -> Client:
        client = Client(context, worker.address)
        clients.append(client)
        if ticket is not None:
            client.join(ticket)
        return client

    yield make
    for client in clients:
        client.close()


_links = itertools.count(1)


@pytest.fixture
def client(shared_worker: StandaloneWorker, connect: Callable[..., Client]) -> Client:
    """A client that has joined the shared worker with a link of its own."""
    return connect(shared_worker, shared_worker.admit(f"link-{next(_links)}"))


@pytest.fixture
def near(
    shared_worker: StandaloneWorker, connect: Callable[..., Client], request: pytest.FixtureRequest
) -> Iterator[Callable[..., NearClient]]:
    """Make stream clients of one link; the first call makes the link, whose channel at the port is `make.first`."""
    made: list[NearClient] = []
    ticket = shared_worker.admit(f"near-{request.node.name[:60]}")
    first = connect(shared_worker)
    name = first.join(ticket).stream

    def make(*, joined: bool = True) -> NearClient:
        client = NearClient(name)
        made.append(client)
        if joined:
            client.join(ticket)
        return client

    make.first = first  # type: ignore[attr-defined]
    make.ticket = ticket  # type: ignore[attr-defined]
    yield make
    for client in made:
        client.close()
