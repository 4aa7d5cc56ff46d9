"""The control port: frames in, events out; answers in, frames out. The socket belongs to the turn's thread.

client, agent ══ROUTER══> Gateway.receive ──> events for the core (or an answer at once, where a greeting is refused)
                <══════── Gateway.tell    <── effects of the core
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import zmq

from gpupool_broker.access.roles import ADMIN, TENANT
from gpupool_broker.core import events as e
from gpupool_broker.keys import public_hex
from gpupool_broker.store.sql import Token
from gpupool_broker.tokens import TokenDesk
from gpupool_wire.addresses import Address
from gpupool_wire.codec import FROM_CLIENT_OR_AGENT, encode
from gpupool_wire.conversation import AGENT_AND_BROKER, CLIENT_AND_BROKER, Conversation, Speaker, State
from gpupool_wire.errors import (
    GpupoolError,
    LimitExceeded,
    NotAuthorized,
    ProtocolError,
    RemoteProtocolError,
    UsageError,
    from_info,
)
from gpupool_wire.limits import MAX_HEADER_BYTES
from gpupool_wire.messages import (
    PROTOCOL_VERSION,
    AgentHello,
    AgentToBroker,
    Beat,
    Bye,
    CancelRequest,
    ClientToBroker,
    Failed,
    Hello,
    LocateSlice,
    Message,
    Ping,
    Pong,
    ReleaseSlice,
    RequestSlice,
    ResizeSlice,
    Shrunk,
    Welcome,
)

log = logging.getLogger(__name__)

#: Messages taken from the socket in one turn: enough to fill a commit, few enough to answer in milliseconds.
TURN_MESSAGES = 2_000
#: Peers known at a time: agents, and clients that hold or want a slice.
MAX_PEERS = 100_000
HIGH_WATER = 100_000


@dataclass(slots=True)
class Peer:
    """Who is at the other end of one identity."""

    conversation: Conversation
    tenant: str = ""
    #: None may touch every slice.
    may_touch: str | None = ""
    node: str = ""
    name: str = ""
    admin: Token | None = None


@dataclass(frozen=True, slots=True)
class WireCaller:
    """Who asked over the control port, and with what kind of message."""

    identity: bytes
    call_id: int
    asked: type[Message]
    credential: str = field(default="", compare=False)
    #: Whose token it is, where it is an admin's.
    admin: Token | None = field(default=None, compare=False)


class Gateway:
    """The ROUTER socket and the conversations on it."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], bind: Address, desk: TokenDesk, name: str, secret: bytes = b""
    ) -> None:
        self._desk = desk
        self._name = name
        self._peers: dict[bytes, Peer] = {}
        self._identity_of: dict[str, bytes] = {}
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.maxmsgsize = MAX_HEADER_BYTES
        self.socket.router_handover = True
        self.socket.sndhwm = self.socket.rcvhwm = HIGH_WATER
        self.socket.ipv6 = ":" in bind.host
        self.socket.heartbeat_ivl, self.socket.heartbeat_timeout = 1_000, 3_000
        if secret:
            self.socket.curve_server = True
            self.socket.curve_secretkey = secret
        try:
            self.socket.bind(f"tcp://{bind.host}:*" if bind.port == 0 else bind.zmq)
        except zmq.ZMQError as error:
            self.socket.close()
            raise UsageError(f"cannot listen on {bind}: {error.strerror or error}; choose another with --bind") from error
        port = int(self.socket.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        self.url = Address(bind.host, port, public_hex(secret) if secret else "").url

    def receive(self, now_ms: int, at_ms: int) -> Iterator[e.Event]:
        """Yield the events of what has arrived, answering at once what needs no decision. Never raises for what a peer sent."""
        for _ in range(TURN_MESSAGES):
            try:
                identity, *frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message, _rest = FROM_CLIENT_OR_AGENT.decode(frames)
                event = self._understand(identity, message, now_ms, at_ms)
            except GpupoolError as error:
                self._refuse(identity, error)
            else:
                if event is not None:
                    yield event

    def _refuse(self, identity: bytes, error: GpupoolError) -> None:
        """Tell a peer what it did wrong, and forget it: it greets again if it means well."""
        log.info("a peer was refused: %s", error, extra={"action": "peer_refused"})
        self._forget(identity)
        self._send(identity, Failed(error=error.to_info()))

    def _forget(self, identity: bytes) -> None:
        peer = self._peers.pop(identity, None)
        if peer and self._identity_of.get(peer.node) == identity:
            del self._identity_of[peer.node]

    def _understand(self, identity: bytes, message: ClientToBroker | AgentToBroker, now_ms: int, at_ms: int) -> e.Event | None:
        match message:
            case Hello():
                self._greet_client(identity, message)
                return None
            case AgentHello():
                return self._greet_agent(identity, message, now_ms, at_ms)
        peer = self._peers.get(identity)
        if peer is None:
            raise RemoteProtocolError("greet first: this broker does not know you (it may have restarted)")
        peer.conversation.heard(message)
        match message:
            case Ping(call_id=call_id):
                self._send(identity, Pong(call_id=call_id))
                return None
            case Bye(reason=reason):
                self._forget(identity)
                return e.AgentLeft(now_ms=now_ms, at_ms=at_ms, node=peer.node, reason=reason)
            case Beat():
                return e.AgentBeat(
                    now_ms=now_ms,
                    at_ms=at_ms,
                    caller=WireCaller(identity, message.seq, Beat),
                    node=peer.node,
                    seq=message.seq,
                    lost=tuple(message.lost),
                    use=tuple(message.use),
                    energy=tuple(message.energy),
                    boards=tuple(message.boards),
                )
            case Shrunk(error=error):
                return e.ShrinkAnswered(
                    now_ms=now_ms,
                    at_ms=at_ms,
                    node=peer.node,
                    slice_id=message.slice_id,
                    request_id=message.request_id,
                    error=None if error is None else from_info(error),
                )
        return self._request(WireCaller(identity, message.call_id, type(message), admin=peer.admin), peer, message, now_ms, at_ms)

    def _request(self, caller: WireCaller, peer: Peer, message: Message, now_ms: int, at_ms: int) -> e.Event:
        match message:
            case RequestSlice():
                return e.SliceRequested(
                    now_ms=now_ms, at_ms=at_ms, caller=caller, tenant=peer.tenant, holder=peer.name, request=message
                )
            case CancelRequest():
                return e.CancelRequested(
                    now_ms=now_ms,
                    at_ms=at_ms,
                    caller=caller,
                    tenant=peer.may_touch,
                    request_id=message.request_id,
                    by=peer.name or "its caller",
                )
            case ResizeSlice():
                return e.ResizeRequested(
                    now_ms=now_ms,
                    at_ms=at_ms,
                    caller=caller,
                    tenant=peer.may_touch,
                    slice_id=message.slice_id,
                    request_id=message.request_id,
                    compute_pct=message.compute_pct,
                    memory_mib=message.memory_mib,
                    deadline_ms=message.deadline_ms,
                )
            case ReleaseSlice():
                return e.ReleaseRequested(
                    now_ms=now_ms,
                    at_ms=at_ms,
                    caller=caller,
                    tenant=peer.may_touch,
                    slice_id=message.slice_id,
                    request_id=message.request_id,
                )
            case LocateSlice():
                return e.LocateRequested(
                    now_ms=now_ms, at_ms=at_ms, caller=caller, tenant=peer.may_touch, slice_id=message.slice_id
                )
        raise RemoteProtocolError(f"{type(message).__name__} is not understood here")

    def _greet_client(self, identity: bytes, hello: Hello) -> None:
        conversation = Conversation(CLIENT_AND_BROKER, Speaker.HOST)
        conversation.heard(hello)
        token = self._desk.check(hello.token, ADMIN, TENANT)
        if token.read_only:
            raise NotAuthorized(f"token {token.token_id} may look and change nothing: slices are asked for with another")
        self._admit(identity)
        admin = token if token.role == ADMIN else None
        may_touch = None if admin else token.tenant
        self._peers[identity] = Peer(conversation, tenant=token.tenant, may_touch=may_touch, name=hello.name, admin=admin)
        self.tell(identity, Welcome(version=PROTOCOL_VERSION, broker=self._name, tenant=token.tenant))

    def _greet_agent(self, identity: bytes, hello: AgentHello, now_ms: int, at_ms: int) -> e.Event:
        conversation = Conversation(AGENT_AND_BROKER, Speaker.HOST)
        conversation.heard(hello)
        credential = self._desk.admit_node(hello.token, hello.node)
        self._admit(identity)
        self._peers[identity] = Peer(conversation, node=hello.node)
        self._identity_of[hello.node] = identity
        return e.AgentGreeted(
            now_ms=now_ms,
            at_ms=at_ms,
            caller=WireCaller(identity, 0, AgentHello, credential),
            node=hello.node,
            door=hello.door,
            devices=tuple(hello.devices),
            labels=hello.labels,
            held=tuple(hello.held),
        )

    def _admit(self, identity: bytes) -> None:
        if len(self._peers) >= MAX_PEERS and identity not in self._peers:
            raise LimitExceeded(f"{MAX_PEERS} peers are connected to this broker; that is its limit")

    def tell(self, identity: bytes, message: Message) -> None:
        """Send to a peer that greeted; what its conversation does not allow (it left meanwhile) is dropped."""
        peer = self._peers.get(identity)
        if peer is None:
            return
        try:
            peer.conversation.said(message)
        except ProtocolError:
            log.exception("an answer does not fit its conversation", extra={"action": "answer_dropped"})
            return
        self._send(identity, message)
        if peer.conversation.state is State.CLOSED:
            self._forget(identity)

    def tell_node(self, node: str, message: Message) -> None:
        """Send to a node's agent; dropped where it is away, as its next greeting heals that."""
        if identity := self._identity_of.get(node):
            self.tell(identity, message)

    def _send(self, identity: bytes, message: Message) -> None:
        try:
            self.socket.send_multipart([identity, *encode(message)], zmq.NOBLOCK)
        except (zmq.ZMQError, ProtocolError) as error:
            log.warning("a message could not be sent: %s", error, extra={"action": "send_failed"})

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
