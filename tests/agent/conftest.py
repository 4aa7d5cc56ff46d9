"""A ladder of fakes: a broker that answers one agent, a worker program that executes nothing, an agent between them."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gpupool_agent.inventory import offers
from gpupool_agent.service import AgentService
from gpupool_agent.settings import AgentSettings, agent_settings
from gpupool_agent.supervisor import WORKER_COMMAND
from gpupool_wire.codec import FROM_AGENT, FROM_DOOR, encode, encode_lease
from gpupool_wire.errors import ErrorInfo, NotAuthorized, RemoteProtocolError
from gpupool_wire.messages import (
    PROTOCOL_VERSION,
    AgentHello,
    AgentWelcome,
    Assign,
    Assignment,
    Beat,
    BeatAnswer,
    Bye,
    DoorToClient,
    Failed,
    Lease,
    Message,
    OpenLink,
    Revoke,
    Shrink,
    Shrunk,
    SignedLease,
)
from gpupool_wire.units import Hold, Policy

DEADLINE_S = 20.0
FAKE_WORKER = Path(__file__).parent / "programs" / "fake_worker.py"


def wait_until(condition: Callable[[], Any], what: str = "", deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true value of `condition`; fail after the deadline."""
    deadline = time.monotonic() + deadline_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {deadline_s} s: {what or condition}")
        time.sleep(0.005)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    return wait_until


class FakeBroker:
    """A ROUTER that answers one agent's greetings and beats, and says what a test tells it to."""

    def __init__(self, tokens: tuple[str, ...] = ("join",)) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.tokens = set(tokens)
        self.credential = "credential"
        self.slices: dict[str, Assignment] = {}
        self.hellos: list[AgentHello] = []
        self.beats: list[Beat] = []
        self.byes: list[Bye] = []
        self.shrunk: list[Shrunk] = []
        self.refusal: ErrorInfo | None = None
        self.is_mute = False
        self.greeted: set[bytes] = set()
        self._agent = b""
        self._outbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stop = threading.Event()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, on the port of before if there was one: a broker that restarts knows nobody."""
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        wait_until(self._bind, "the port is free")
        self.greeted = set()
        self._stop.clear()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _bind(self) -> bool:
        try:
            self._socket.bind(f"tcp://127.0.0.1:{self.port or '*'}")
        except zmq.ZMQError:
            return False
        self.port = int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        return True

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()
        self._context.term()

    def _serve(self) -> None:
        while not self._stop.is_set():
            while not self._outbox.empty():
                self._say(self._agent, self._outbox.get())
            if self._socket.poll(5):
                peer, *frames = self._socket.recv_multipart()
                message, _ = FROM_AGENT.decode(frames)
                if not self.is_mute:
                    self._hear(peer, message)

    def _say(self, peer: bytes, message: Message) -> None:
        self._socket.send_multipart([peer, *encode(message)])

    def _hear(self, peer: bytes, message: Message) -> None:
        if isinstance(message, AgentHello):
            self.hellos.append(message)
            self._greet(peer, message)
        elif peer not in self.greeted:
            self._say(peer, Failed(error=RemoteProtocolError("greet first").to_info()))
        elif isinstance(message, Beat):
            self.beats.append(message)
            self._say(peer, BeatAnswer(seq=message.seq, lease_ms=60_000))
        elif isinstance(message, Shrunk):
            self.shrunk.append(message)
        elif isinstance(message, Bye):
            self.byes.append(message)

    def _greet(self, peer: bytes, hello: AgentHello) -> None:
        if self.refusal is not None or hello.token not in {*self.tokens, self.credential}:
            self._say(peer, Failed(error=self.refusal or NotAuthorized("the token is not known").to_info()))
            return
        self._agent = peer
        self.greeted.add(peer)
        self._say(
            peer,
            AgentWelcome(
                version=PROTOCOL_VERSION,
                broker="fake",
                credential="" if hello.token == self.credential else self.credential,
                lease_key=self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
                slices=list(self.slices.values()),
            ),
        )

    # ── what a test does ──────

    def assign(self, slice_id: str, epoch: int = 1, **changes: Any) -> Assignment:
        """Place a slice on the agent's node and tell it."""
        fields: dict[str, Any] = {
            "tenant": "t",
            "device": "null0",
            "compute_pct": 10,
            "memory_mib": 64,
            "policy": Policy.FIXED,
            "hold": Hold.ATTACHED,
        }
        assignment = Assignment(slice_id=slice_id, epoch=epoch, **{**fields, **changes})
        self.slices[slice_id] = assignment
        self._outbox.put(Assign(slice=assignment))
        return assignment

    def shrink(self, slice_id: str, memory_mib: int, request_id: str = "r") -> None:
        """Ask for less memory."""
        self._outbox.put(Shrink(slice_id=slice_id, request_id=request_id, memory_mib=memory_mib, deadline_ms=10))

    def revoke(self, slice_id: str, reason: str = "released") -> None:
        """Take a slice back."""
        gone = self.slices.pop(slice_id)
        self._outbox.put(Revoke(slice_id=slice_id, epoch=gone.epoch + 1, reason=reason))

    def lease(self, slice_id: str, *, node: str = "node", epoch: int = 1, **changes: Any) -> SignedLease:
        """Sign a lease."""
        fields: dict[str, Any] = {
            "tenant": "t",
            "device": "null0",
            "compute_pct": 10,
            "memory_mib": 64,
            "policy": Policy.FIXED,
            "hold": Hold.ATTACHED,
        }
        payload = encode_lease(Lease(slice_id=slice_id, epoch=epoch, node=node, **{**fields, **changes}))
        return SignedLease(payload=payload, signature=self._key.sign(payload))


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    broker = FakeBroker()
    yield broker
    broker.stop()


@pytest.fixture
def standby() -> Iterator[FakeBroker]:
    """Another broker."""
    standby = FakeBroker()
    yield standby
    standby.stop()


class Agent:
    """An agent in this process, with the fake worker."""

    def __init__(self, settings: AgentSettings, command: tuple[str, ...] | None) -> None:
        offered = offers(
            settings.devices,
            nvml=None,
            cpu_memory_mib=settings.cpu_memory_mib,
            null_devices=settings.null_devices,
            worker_overhead_mib=None,
        )
        self.settings = settings
        self.service = AgentService(settings, offered, worker_command=command or WORKER_COMMAND)
        self.error: BaseException | None = None
        self._context = zmq.Context()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self.service:
                self.service.run()
        except BaseException as error:
            self.error = error

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    @property
    def models(self) -> Path:
        return self.settings.state_dir / "models"

    def heard(self, slice_id: str) -> str:
        """What the slice's fake workers have heard so far."""
        log = self.models / f"{slice_id}.log"
        return log.read_text() if log.exists() else ""

    def pids(self, slice_id: str) -> list[int]:
        return [int(line.split()[1]) for line in self.heard(slice_id).splitlines() if line.startswith("pid ")]

    def knock(self, lease: SignedLease, *, holder: bool = True) -> Callable[[float], DoorToClient | None]:
        """Ask for a link; the result waits so long for the answer."""
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(self.service.door.address.zmq)
        socket.send_multipart(encode(OpenLink(version=PROTOCOL_VERSION, lease=lease, holder=holder)))

        def answer(timeout_s: float = DEADLINE_S) -> DoorToClient | None:
            if not socket.poll(int(timeout_s * 1000)):
                return None
            message, _ = FROM_DOOR.decode(socket.recv_multipart())
            socket.close()
            return message

        return answer

    def open(self, lease: SignedLease, *, holder: bool = True) -> Any:
        """Ask for a link and wait for the answer."""
        return self.knock(lease, holder=holder)(DEADLINE_S)

    def stop(self) -> None:
        self.service.stop()
        self._thread.join()
        self._context.destroy(linger=0)


@pytest.fixture
def start_agent(broker: FakeBroker, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Starts agents of the fake broker; each is stopped when the test is over."""
    started: list[Agent] = []

    def start(*, real_worker: bool = False, **changes: Any) -> Agent:
        options: dict[str, Any] = {
            "node": "node",
            "broker": f"127.0.0.1:{broker.port}",
            "join_token": "join",
            "bind": "127.0.0.1:0",
            "worker_ports": "0",
            "null_devices": 1,
            "home": tmp_path / "home",
            "metrics": "none",
        }
        agent = Agent(agent_settings(**{**options, **changes}), None if real_worker else (sys.executable, str(FAKE_WORKER)))
        started.append(agent)
        return agent

    yield start
    for agent in started:
        agent.stop()


@pytest.fixture
def agent(start_agent: Callable[..., Agent], broker: FakeBroker) -> Agent:
    """An agent that the broker has welcomed."""
    agent = start_agent()
    wait_until(lambda: broker.beats, "the agent beats")
    return agent
