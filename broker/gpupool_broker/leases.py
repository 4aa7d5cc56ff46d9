"""Signing leases, so that an agent can check a client without asking the broker. Ed25519 (RFC 8032)."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gpupool_wire.codec import encode_lease
from gpupool_wire.errors import UsageError
from gpupool_wire.messages import Lease, SignedLease


class LeaseSigner:
    """Holds the broker's signing key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def at(cls, path: Path) -> LeaseSigner:
        """Return the signer whose key lies at `path`, readable by its owner alone; make one at the first start."""
        if path.exists():
            raw = path.read_bytes()
            if len(raw) != 32:
                raise UsageError(f"{path} is not a lease key (32 bytes): restore it, or delete it and restart the agents")
            return cls(Ed25519PrivateKey.from_private_bytes(raw))
        key = Ed25519PrivateKey.generate()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
        return cls(key)

    def sign(self, lease: Lease) -> SignedLease:
        """Return the lease with its signature."""
        payload = encode_lease(lease)
        return SignedLease(payload=payload, signature=self._key.sign(payload))
