"""The door: where clients show their signed lease, and are told which worker serves it.

    client ──OpenLink──> Door.knocks ──Knock──> hosting ──Door.answer(LinkOpened | Failed)──> client

The door decides nothing; it speaks the wire and checks the broker's signature. Malformed messages are answered with a typed error
and never reach the agent's loop as anything else.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import zmq
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from zmq.utils import z85

from gpupool_wire.addresses import Address
from gpupool_wire.codec import AT_DOOR, decode_lease, encode
from gpupool_wire.errors import GpupoolError, NotAuthorized, RemoteProtocolError, UsageError
from gpupool_wire.limits import MAX_HEADER_BYTES
from gpupool_wire.messages import PROTOCOL_VERSION, DoorToClient, Failed, Lease, OpenLink, SignedLease

log = logging.getLogger(__name__)

#: Messages kept for a client that does not read, and from clients while the agent is busy.
HIGH_WATER = 1_000
#: A client that has died is forgotten by its socket after this.
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 1_000, 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """A client asks for a link."""

    peer: bytes
    request: OpenLink


class Door:
    """The agent's ROUTER socket. Used by one thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: Address, secret: bytes = b"") -> None:
        self.socket = context.socket(zmq.ROUTER)
        #: The key clients expect here; empty where the door is not encrypted.
        self.key = encrypt(self.socket, secret) if secret else ""
        self.socket.linger = 0
        self.socket.sndhwm = self.socket.rcvhwm = HIGH_WATER
        self.socket.maxmsgsize = MAX_HEADER_BYTES
        self.socket.heartbeat_ivl = HEARTBEAT_MS
        self.socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
        self.socket.ipv6 = ":" in address.host
        try:
            self.address = bind(self.socket, address)
        except UsageError:
            self.socket.close()
            raise

    def knocks(self, at_most: int) -> Iterator[Knock]:
        """Yield the knocks among the next messages; whoever knocks wrongly is answered here."""
        for _ in range(at_most):
            try:
                peer, *frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                request, _frames = AT_DOOR.decode(frames)
                if request.version != PROTOCOL_VERSION:
                    raise RemoteProtocolError(
                        f"the client speaks protocol version {request.version}, "
                        f"this agent {PROTOCOL_VERSION}: update the older one"
                    )
            except GpupoolError as error:
                self.answer(peer, Failed(error=error.to_info()))
            else:
                yield Knock(peer=peer, request=request)

    def answer(self, peer: bytes, message: DoorToClient) -> None:
        """Answer a client; one that has gone, or does not read, goes without."""
        try:
            self.socket.send_multipart([peer, *encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            log.info("a client at the door does not take its answer: %s", error, extra={"action": "answer_dropped"})

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class LeaseCheck:
    """Checks leases against the broker's public key (Ed25519, RFC 8032)."""

    def __init__(self, public_key: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(public_key)

    def open(self, signed: SignedLease) -> Lease:
        """Return the lease; raise NotAuthorized where the broker has not signed exactly these bytes."""
        try:
            self._key.verify(signed.signature, signed.payload)
        except InvalidSignature as error:
            raise NotAuthorized("the lease is not signed by this pool's broker: ask for a new one") from error
        return decode_lease(signed.payload)


def encrypt(socket: zmq.Socket[bytes], secret: bytes) -> str:
    """Let a socket that is not bound yet encrypt with a secret key (Z85); return its public key as addresses carry it."""
    socket.curve_server = True
    socket.curve_secretkey = secret
    return str(z85.decode(zmq.curve_public(secret)).hex())


def bind(socket: zmq.Socket[bytes], address: Address) -> Address:
    """Bind a socket and return the address with its real port; raise UsageError where it cannot be bound."""
    try:
        socket.bind(f"tcp://{address.host}:*" if address.port == 0 and ":" not in address.host else address.zmq)
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"{address} is in use: stop who listens there, or choose another address with --bind") from error
        raise UsageError(f"{address} cannot be bound: {error}") from error
    endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    return Address(address.host, int(endpoint.rpartition(":")[2]))
