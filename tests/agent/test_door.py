"""The door: signatures and addresses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gpupool_agent.door import Door, Knock, LeaseCheck
from gpupool_wire.addresses import Address
from gpupool_wire.codec import FROM_DOOR, encode, encode_lease
from gpupool_wire.errors import NotAuthorized, RemoteProtocolError, UsageError
from gpupool_wire.messages import PROTOCOL_VERSION, Failed, Lease, OpenLink, SignedLease
from gpupool_wire.units import Hold, Policy

LEASE = Lease(
    slice_id="s",
    epoch=1,
    tenant="t",
    node="n",
    device="d",
    compute_pct=1,
    memory_mib=1,
    policy=Policy.FIXED,
    hold=Hold.HELD,
)


def signed(key: Ed25519PrivateKey, payload: bytes) -> SignedLease:
    return SignedLease(payload=payload, signature=key.sign(payload))


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def check(key: Ed25519PrivateKey) -> LeaseCheck:
    return LeaseCheck(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.term()


def test_a_signed_lease_is_read(key: Ed25519PrivateKey, check: LeaseCheck) -> None:
    assert check.open(signed(key, encode_lease(LEASE))) == LEASE


def test_one_changed_byte_is_refused(key: Ed25519PrivateKey, check: LeaseCheck) -> None:
    good = signed(key, encode_lease(LEASE))
    for position in range(len(good.payload)):
        changed = bytearray(good.payload)
        changed[position] ^= 1
        with pytest.raises(NotAuthorized):
            check.open(SignedLease(payload=bytes(changed), signature=good.signature))


def test_another_brokers_signature_is_refused(check: LeaseCheck) -> None:
    with pytest.raises(NotAuthorized, match="not signed by this pool"):
        check.open(signed(Ed25519PrivateKey.generate(), encode_lease(LEASE)))


def test_signed_rubbish_is_a_protocol_error(key: Ed25519PrivateKey, check: LeaseCheck) -> None:
    with pytest.raises(RemoteProtocolError):
        check.open(signed(key, b"rubbish"))


def test_a_port_in_use_is_one_sentence_and_leaves_no_socket(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    door = Door(context, Address("127.0.0.1", 0))
    with pytest.raises(UsageError, match=r"in use.*--bind"):
        Door(context, door.address)
    door.close()


def test_knocks_are_read_and_mistakes_answered(context: zmq.Context[zmq.Socket[bytes]], key: Ed25519PrivateKey) -> None:
    door = Door(context, Address("127.0.0.1", 0))
    client = context.socket(zmq.DEALER)
    client.linger = 0
    client.connect(door.address.zmq)
    lease = signed(key, encode_lease(LEASE))
    client.send_multipart(encode(OpenLink(version=99, lease=lease, holder=True)))
    client.send_multipart([b"\xc1"])
    client.send_multipart(encode(OpenLink(version=PROTOCOL_VERSION, lease=lease, holder=False)))
    knocks: list[Knock] = []
    while not knocks:
        assert door.socket.poll(5_000)
        knocks += door.knocks(10)
    assert not knocks[0].request.holder
    for expected in ("version 99", "malformed"):
        assert client.poll(5_000)
        failed, _ = FROM_DOOR.decode(client.recv_multipart())
        assert isinstance(failed, Failed)
        assert expected in failed.error.message
    client.close()
    door.close()
