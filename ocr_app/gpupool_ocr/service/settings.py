"""How an instance is started."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from gpupool_ocr.cases.store import Retention
from gpupool_ocr.service.fetching import Fetcher
from gpupool_ocr.service.redaction import DEFAULT_RULES, Rule, make_rule
from gpupool_wire.errors import UsageError

#: Beside the pool's own ports (7100, 7180, 7190, 7200 and above).
PORT = 7170
#: Documents read at the same time. Two keep the device busy, the others let their host work overlap; each holds the image of a
#: page, so this, not the number of callers, is what memory grows with.
PAGES = 4
#: Calls on the slice at the same time: one is executed while the other travels.
LANES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the command line says."""

    host: str = "127.0.0.1"
    port: int = PORT
    #: redis:// address of the board that several instances share; None for a board in memory.
    redis: str | None = None
    #: Snapshots and their history, where there is no Redis.
    folder: Path
    pages: int = PAGES
    lanes: int = LANES
    wait_s: float = 60.0
    max_pages: int = 100
    log: Path | None = None
    tenants: Path | None = None
    fetch_hosts: tuple[str, ...] = ()
    fetch_networks: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()
    insecure: bool = False
    #: Where pages that were read badly are kept; None where only a plan says so, and then in `folder`.
    cases: Path | None = None
    cases_days: float = 90.0
    cases_mib: int = 10 * 1024
    cases_redact: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse to be reached from elsewhere without keys. Raises UsageError."""
        if self.tenants is None and not self.insecure and not _is_loopback(self.host):
            raise UsageError(f"{self.host} can be reached from other machines: name a file of --tenants, or accept --insecure")

    def fetcher(self) -> Fetcher:
        """Return what may be fetched. Raises UsageError."""
        try:
            networks = [ipaddress.ip_network(network) for network in self.fetch_networks]
        except ValueError as error:
            raise UsageError(f"--fetch-network: {error}") from error
        return Fetcher(hosts=tuple(host.lower() for host in self.fetch_hosts), networks=networks)

    def retention(self) -> Retention:
        """Return how long, and how much of, what was read badly is kept. Raises UsageError."""
        return Retention(max_age_s=self.cases_days * 86_400, max_bytes=self.cases_mib << 20)

    def rules(self) -> tuple[Rule, ...]:
        """Return what the log leaves out. Raises UsageError."""
        return (*DEFAULT_RULES, *map(make_rule, self.redact))


def default_folder() -> Path:
    """Return where snapshots are kept: in the pool's own state directory."""
    home = os.environ.get("GPUPOOL_HOME")
    return (Path(home) if home else Path.home() / ".gpupool") / "ocr"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
