"""Signing leases, so that an agent can check a client without asking the broker. Ed25519 (RFC 8032)."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gpupool_wire.codec import encode_lease
from gpupool_wire.errors import UsageError
from gpupool_wire.messages import Lease, SignedLease


class LeaseSigner:
    """Holds the broker's signing key."""

    def __init__(self, raw: bytes) -> None:
        """Take a key as RFC 8032 writes it, 32 bytes."""
        self._key = Ed25519PrivateKey.from_private_bytes(raw)
        self.public_key = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, lease: Lease) -> SignedLease:
        """Return the lease with its signature."""
        payload = encode_lease(lease)
        return SignedLease(payload=payload, signature=self._key.sign(payload))


def first_lease_key(path: Path) -> bytes:
    """Return the key a store begins with: the one that a broker before it kept at `path`, else a new one.

    Raises UsageError where that file holds none.
    """
    if path.exists():
        raw = path.read_bytes()
        if len(raw) != 32:
            raise UsageError(f"{path} is not a lease key (32 bytes): restore it, or delete it and restart the agents")
        return raw
    return Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
