"""Where the pool is and who we are: arguments first, then GPUPOOL_ variables, then the pool that runs on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from gpupool.locks import is_held
from gpupool_wire.addresses import Address, parse_addresses
from gpupool_wire.errors import NotAuthorized, PoolUnreachable, UsageError
from gpupool_wire.home import state_home
from gpupool_wire.limits import BROKER_PORT, HTTP_PORT
from gpupool_wire.units import parse_compute, parse_memory

#: What GPUPOOL_COMPUTE and GPUPOOL_MEMORY are where they are not set: a quarter of a device.
DEFAULT_COMPUTE_PCT: Final = 25
DEFAULT_MEMORY_MIB: Final = 2048

#: How long commands queue where a slice does not fit at once: what a killed program held is free again within seconds.
PATIENCE_S: Final = 10.0

WAY_OUT: Final = "start a pool on this machine with `gpupool up`, or set GPUPOOL_URL (and GPUPOOL_TOKEN) to yours"


class CodingMode(StrEnum):
    """When tensors are coded for their way over the network. The results are the same, bit for bit."""

    #: Where that is quicker, as far as what the link has carried so far tells.
    AUTO = "auto"
    OFF = "off"
    #: To the fewest bytes, as for a very slow link.
    ALWAYS = "always"


class RunningPool(msgspec.Struct, frozen=True, kw_only=True):
    """What `gpupool up` writes to pool.json once everything answers."""

    url: str
    http: str
    pids: dict[str, int] = {}


def running_pool(home: Path) -> RunningPool | None:
    """Return the pool that runs with its state in `home`, or None where none does; what a killed one left there is ignored."""
    try:
        pool = msgspec.json.decode((home / "pool.json").read_bytes(), type=RunningPool)
    except (OSError, msgspec.MsgspecError):
        return None
    # Whoever runs it holds the lock for as long as it lives, so a file that a killed one left is not taken for a pool.
    return pool if is_held(home / "up.lock") else None


def broker_url(url: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the broker's address: `url`, else GPUPOOL_URL, else that of the pool that runs on this machine.

    Where others stand by, there are several, with commas between. Raises PoolUnreachable where there is none of these, UsageError
    where it is no address.
    """
    given = url or environ.get("GPUPOOL_URL")
    if given:
        return ",".join(address.url for address in parse_addresses(given, BROKER_PORT))
    home = state_home(environ)
    pool = running_pool(home)
    if pool is None:
        raise PoolUnreachable(f"no pool runs on this machine (nothing alive in {home}) and GPUPOOL_URL is not set: {WAY_OUT}")
    return pool.url


def client_token(token: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the token to show: `token`, else GPUPOOL_TOKEN, else the admin token of the pool on this machine."""
    given = token or environ.get("GPUPOOL_TOKEN")
    if given:
        return given.strip()
    path = state_home(environ) / "admin.token"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NotAuthorized(
            f"there is no token: set GPUPOOL_TOKEN to the one your admin gave you ({path}: {error.strerror})"
        ) from error


def wanted_size(environ: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return the slice a program asks for without saying: GPUPOOL_COMPUTE (per cent) and GPUPOOL_MEMORY, as (per cent, MiB)."""
    try:
        compute = parse_compute(environ.get("GPUPOOL_COMPUTE") or DEFAULT_COMPUTE_PCT)
    except UsageError as error:
        raise UsageError(f"GPUPOOL_COMPUTE: {error.message}") from error
    try:
        memory = parse_memory(environ.get("GPUPOOL_MEMORY") or DEFAULT_MEMORY_MIB)
    except UsageError as error:
        raise UsageError(f"GPUPOOL_MEMORY: {error.message}") from error
    return compute, memory


def coding_mode(environ: Mapping[str, str] = os.environ) -> CodingMode:
    """Return when tensors are coded: GPUPOOL_CODING, else `auto`. Raises UsageError for what it cannot be."""
    given = environ.get("GPUPOOL_CODING", "").strip().lower() or CodingMode.AUTO
    try:
        return CodingMode(given)
    except ValueError:
        raise UsageError(f"GPUPOOL_CODING cannot be {given!r}: it is one of {', '.join(CodingMode)}") from None


def wants_batching(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether calls may be executed in batches: GPUPOOL_BATCHING, on or off. Raises UsageError for what it cannot be."""
    given = environ.get("GPUPOOL_BATCHING", "").strip().lower() or "on"
    if given not in ("on", "off"):
        raise UsageError(f"GPUPOOL_BATCHING cannot be {given!r}: it is on or off")
    return given == "on"


def rest_address(http: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the address of REST: `http`, else GPUPOOL_HTTP, else the host of GPUPOOL_URL, else the pool on this machine.

    Where brokers stand by, there are several, with commas between.
    """
    if given := http or environ.get("GPUPOOL_HTTP"):
        return given
    if url := environ.get("GPUPOOL_URL"):
        return ",".join(f"http://{Address(address.host, HTTP_PORT)}" for address in parse_addresses(url, BROKER_PORT))
    home = state_home(environ)
    pool = running_pool(home)
    if pool is None:
        raise PoolUnreachable(f"no pool runs on this machine (nothing alive in {home}) and GPUPOOL_URL is not set: {WAY_OUT}")
    return pool.http
