"""Addresses: "host:port" as people write it, and the rule about what may be bound without encryption.

An encrypted one names the public key of whoever listens there: curve://KEY@host:port, the key being 32 bytes in hexadecimal. Who
has the address so knows whom to expect, and nobody in between can take that place (CurveZMQ, rfc.zeromq.org/spec/26).
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import msgspec

from gpupool_wire.errors import UsageError

_KEY = re.compile("[0-9a-fA-F]{64}")


class Address(msgspec.Struct, frozen=True):
    """A TCP address."""

    host: str
    port: int
    #: CURVE public key of whoever listens there (hexadecimal); empty where the traffic is not encrypted.
    key: str = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def zmq(self) -> str:
        """The endpoint as ZeroMQ writes it."""
        return f"tcp://{self}"

    @property
    def url(self) -> str:
        """The address as it is passed on, with its key."""
        return f"curve://{self.key}@{self}" if self.key else self.zmq

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str, default_port: int) -> Address:
    """Return the address of "host", "host:port", "[v6]:port", "tcp://host:port" or "curve://KEY@host:port".

    Raises UsageError where it is none of these.
    """
    plain = text.strip()
    try:
        parts = urlsplit(plain if "://" in plain else f"tcp://{plain}")
        port = parts.port if parts.port is not None else default_port
    except ValueError as error:
        raise UsageError(f"{text!r} is not an address: {error}") from error
    if parts.scheme not in ("tcp", "curve") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise UsageError(f'{text!r} is not an address: write host or host:port, such as "gpu-pool.example:{default_port}"')
    key = parts.username or ""
    if parts.scheme == "curve" and not _KEY.fullmatch(key):
        raise UsageError(f"{text!r} is not an address: curve:// needs the key of who listens there, 64 hexadecimal digits")
    if parts.scheme == "tcp" and key:
        raise UsageError(f"{text!r} is not an address: write curve:// where there is a key")
    return Address(parts.hostname, port, key.lower())


def parse_addresses(text: str, default_port: int) -> tuple[Address, ...]:
    """Return the addresses of a list with commas between, such as "tcp://a:7100,tcp://b:7100", each once, in that order.

    Raises UsageError where one of them is none, or where there is none.
    """
    found = [parse_address(part, default_port) for part in text.split(",") if part.strip()]
    if not found:
        raise UsageError(f"{text!r} names no address")
    return tuple(dict.fromkeys(found))


def check_bind(address: Address, *, insecure: bool, encrypted: bool = False) -> Address:
    """Return `address` if it may be bound; raise UsageError for one beyond loopback without encryption or `insecure`."""
    if address.is_loopback or encrypted or insecure:
        return address
    raise UsageError(
        f"{address} can be reached from other machines and the traffic would not be encrypted: encrypt it, bind to 127.0.0.1, "
        "or accept that with --insecure"
    )
