"""Addresses: "host:port" as people write it, and the rule about what may be bound without encryption."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import msgspec

from gpupool_wire.errors import UsageError


class Address(msgspec.Struct, frozen=True):
    """A TCP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def zmq(self) -> str:
        """The endpoint as ZeroMQ writes it."""
        return f"tcp://{self}"

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
    """Return the address of "host", "host:port", "[v6]:port" or "tcp://host:port"; raise UsageError where it is none."""
    plain = text.strip()
    try:
        parts = urlsplit(plain if "://" in plain else f"tcp://{plain}")
        port = parts.port if parts.port is not None else default_port
    except ValueError as error:
        raise UsageError(f"{text!r} is not an address: {error}") from error
    if parts.scheme != "tcp" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise UsageError(f'{text!r} is not an address: write host or host:port, such as "gpu-pool.example:{default_port}"')
    return Address(parts.hostname, port)


def check_bind(address: Address, *, insecure: bool, encrypted: bool = False) -> Address:
    """Return `address` if it may be bound; raise UsageError for one beyond loopback without encryption or `insecure`."""
    if address.is_loopback or encrypted or insecure:
        return address
    raise UsageError(
        f"{address} can be reached from other machines and the traffic would not be encrypted: bind to 127.0.0.1, "
        "or accept that with --insecure"
    )
