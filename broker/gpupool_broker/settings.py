"""What a broker can be told, by option or environment (GPUPOOL_<OPTION>)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpupool_wire.addresses import Address


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerSettings:
    """One broker's settings."""

    bind: Address
    http: Address
    home: Path
    #: SQLAlchemy URL; None keeps an SQLite file under the home.
    database: str | None = None
    #: Whether to wait where another broker serves from the database, and take over when it ends.
    standby: bool = False
    #: Facts between two snapshots of the books.
    snapshot_every: int = 50_000
    admin_token_file: Path | None = None
    #: Where the first admin's one-time password is written, and removed once it was changed; None shows it.
    admin_password_file: Path | None = None
    ready_file: Path | None = None
    #: How devices are chosen for requests, a name of core.placement.POLICIES; None takes the default.
    placement: str | None = None
    #: How long slices that may be taken run at least, and how long those that have to go know before (seconds).
    min_runtime_s: float = 60.0
    notice_s: float = 30.0
    #: Whether the control port is encrypted.
    encrypt: bool = False
    #: Certificate and key (PEM) REST is served with over TLS; None serves plain HTTP.
    tls: tuple[Path, Path] | None = None
    #: Hours that use is kept as it was told, before it is folded into quarter hours; 0 keeps it so for ever.
    keep_use_h: float = 3.0
    #: How often schedules are looked at.
    report_every_s: float = 60.0
    #: Where scheduled reports are written; None: a folder of the home.
    report_folder: Path | None = None
    #: The mail server scheduled reports are sent by, and whom they come from.
    smtp: str = ""
    mail_from: str = ""
    #: A file that says which OpenID provider signs people in; None: none does.
    oidc: Path | None = None
    log_level: str = "info"

    @property
    def folder(self) -> Path:
        """Where the broker keeps its own files."""
        return self.home / "broker"
