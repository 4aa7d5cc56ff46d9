"""The broker's CURVE key pair (CurveZMQ, rfc.zeromq.org/spec/26), made at its first start."""

from __future__ import annotations

import os
from pathlib import Path

import zmq
from zmq.utils import z85

from gpupool_wire.errors import UsageError


def curve_secret(path: Path) -> bytes:
    """Return the secret key (Z85) kept at `path`, made now where there is none. Raises UsageError where it cannot be used."""
    try:
        if not path.exists():
            _, secret = zmq.curve_keypair()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secret)
        secret = path.read_bytes().strip()
        zmq.curve_public(secret)
    except (OSError, ValueError, zmq.ZMQError) as error:
        raise UsageError(
            f"the key in {path} cannot be used ({error}): restore it, or remove it and tell everybody the new one"
        ) from error
    return secret


def public_hex(secret: bytes) -> str:
    """Return the public key of a secret one, as addresses carry it."""
    return str(z85.decode(zmq.curve_public(secret)).hex())
