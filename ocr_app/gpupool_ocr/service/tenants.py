"""Who may ask how much. Pure: the time is an argument.

A tenant is known by its key, which is kept as a hash. Without a file of tenants everybody is the one tenant "default", and the
service listens on loopback only.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from gpupool_ocr.jobs.board import QueueFull
from gpupool_wire.errors import GpupoolError, UsageError

DEFAULT = "default"
MINUTE_S = 60.0


class Unauthorized(GpupoolError):
    """A key is needed: send it as `Authorization: Bearer KEY`."""

    code = "unauthorized"
    http_status = 401


class TenantSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tenant of the file."""

    #: SHA-256 of its key, in hex. A key is random, so that a plain hash is as good as a slow one.
    key_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    #: Documents that wait or are read at the same time.
    in_flight: Annotated[int, Meta(ge=1)] = 16
    per_minute: Annotated[int, Meta(ge=1)] = 600
    #: The businesses it may name; empty for all.
    bids: list[str] = []
    #: May apply snapshots and see what the service does.
    is_admin: bool = False
    #: Whether its pages may be kept to learn from.
    keeps_cases: bool = True
    #: Tenants whose kept pages it sees and labels, beside its own.
    cases_of: list[str] = []


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenants: dict[str, TenantSpec]


def read_tenants(path: Path) -> dict[str, TenantSpec]:
    """Return the tenants of a YAML file. Raises UsageError."""
    import yaml

    try:
        tenants = msgspec.convert(yaml.safe_load(path.read_bytes()), _File).tenants
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise UsageError(f"{path} is no file of tenants: {error}") from error
    for name, spec in tenants.items():
        if unknown := sorted(set(spec.cases_of) - tenants.keys()):
            raise UsageError(f"{path}: tenant {name!r} has cases_of {', '.join(unknown)}; there are {', '.join(tenants)}")
    return tenants


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks."""

    tenant: str
    spec: TenantSpec

    def check_bid(self, bid: str) -> None:
        """Refuse a business that is not the tenant's. Raises Unauthorized."""
        if self.spec.bids and bid not in self.spec.bids:
            raise Unauthorized(f"tenant {self.tenant!r} may not name bid {bid!r}; it may name {', '.join(self.spec.bids)}")


@dataclass(slots=True)
class _Use:
    in_flight: int = 0
    tokens: float = 0.0
    at: float = field(default=float("-inf"))


class Tenants:
    """Knows callers by their key, and counts what they have under way. One thread (the event loop) uses it."""

    def __init__(self, specs: Mapping[str, TenantSpec] | None = None) -> None:
        self._specs = dict(specs or {})
        everybody = TenantSpec(key_sha256="0" * 64, in_flight=1_000_000, per_minute=1_000_000, is_admin=True)
        self._everybody = None if self._specs else Caller(DEFAULT, everybody)
        self._uses: dict[str, _Use] = {}

    @property
    def are_known(self) -> bool:
        """Whether callers need a key."""
        return self._everybody is None

    def caller(self, key: str | None) -> Caller:
        """Return who holds a key. Raises Unauthorized; takes as long for one key as for another."""
        if self._everybody:
            return self._everybody
        digest = hashlib.sha256((key or "").encode()).hexdigest()
        found = [name for name, spec in self._specs.items() if hmac.compare_digest(spec.key_sha256, digest)]
        if not key or not found:
            raise Unauthorized
        return Caller(found[0], self._specs[found[0]])

    def begin(self, caller: Caller, now: float) -> None:
        """Count a document in. Raises QueueFull with the seconds after which there is room again."""
        spec, use = caller.spec, self._uses.setdefault(caller.tenant, _Use())
        use.tokens = min(float(spec.per_minute), use.tokens + (now - use.at) * spec.per_minute / MINUTE_S)
        use.at = now
        if use.in_flight >= spec.in_flight:
            why = f"tenant {caller.tenant!r} has {use.in_flight} documents under way; the limit is {spec.in_flight}"
            raise QueueFull(why, retry_after_s=1.0)
        if use.tokens < 1:
            why = f"tenant {caller.tenant!r} may send {spec.per_minute} documents a minute"
            raise QueueFull(why, retry_after_s=round((1 - use.tokens) * MINUTE_S / spec.per_minute, 3))
        use.tokens -= 1
        use.in_flight += 1

    def resume(self, caller: Caller) -> None:
        """Count a document in again that was admitted before."""
        self._uses[caller.tenant].in_flight += 1

    def end(self, caller: Caller) -> None:
        """Count a document out."""
        self._uses[caller.tenant].in_flight -= 1
