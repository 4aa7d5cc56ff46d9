"""Where the pool is and who we are: arguments first, then GPUPOOL_ variables, then the pool that runs on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from gpupool_wire.addresses import parse_address
from gpupool_wire.errors import NotAuthorized, PoolUnreachable, UsageError
from gpupool_wire.limits import BROKER_PORT
from gpupool_wire.units import parse_compute, parse_memory

#: What GPUPOOL_COMPUTE and GPUPOOL_MEMORY are where they are not set: a quarter of a device.
DEFAULT_COMPUTE_PCT: Final = 25
DEFAULT_MEMORY_MIB: Final = 2048

WAY_OUT: Final = "start a pool on this machine with `gpupool up`, or set GPUPOOL_URL (and GPUPOOL_TOKEN) to yours"


class RunningPool(msgspec.Struct, frozen=True, kw_only=True):
    """What `gpupool up` writes to pool.json once everything answers."""

    url: str
    http: str
    pids: dict[str, int] = {}

    @property
    def is_alive(self) -> bool:
        """Whether its processes are there still."""
        return bool(self.pids) and all(Path(f"/proc/{pid}").exists() or _signalable(pid) for pid in self.pids.values())


def _signalable(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return GPUPOOL_HOME, by default gpupool's folder among the user's state files (XDG base directory specification)."""
    if home := environ.get("GPUPOOL_HOME"):
        return Path(home).expanduser().absolute()
    state = environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "gpupool"


def running_pool(home: Path) -> RunningPool | None:
    """Return the pool that runs with its state in `home`, or None where none does; what a killed one left there is ignored."""
    try:
        pool = msgspec.json.decode((home / "pool.json").read_bytes(), type=RunningPool)
    except (OSError, msgspec.MsgspecError):
        return None
    return pool if pool.is_alive else None


def broker_url(url: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the broker's address: `url`, else GPUPOOL_URL, else that of the pool that runs on this machine.

    Raises PoolUnreachable where there is none of these, UsageError where it is no address.
    """
    given = url or environ.get("GPUPOOL_URL")
    if given:
        return parse_address(given, BROKER_PORT).zmq
    home = state_directory(environ)
    pool = running_pool(home)
    if pool is None:
        raise PoolUnreachable(f"no pool runs on this machine (nothing alive in {home}) and GPUPOOL_URL is not set: {WAY_OUT}")
    return pool.url


def client_token(token: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the token to show: `token`, else GPUPOOL_TOKEN, else the admin token of the pool on this machine."""
    given = token or environ.get("GPUPOOL_TOKEN")
    if given:
        return given.strip()
    path = state_directory(environ) / "admin.token"
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
