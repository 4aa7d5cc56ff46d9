"""What the broker asks the process that makes reports, and what that answers: one of each, as MessagePack on its pipes."""

from __future__ import annotations

import msgspec

from gpupool_broker.store.folds import Fold
from gpupool_wire.errors import ErrorInfo


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a process finds the pool, and where it leaves reports."""

    database: str
    #: Schedules write below this folder only.
    folder: str
    #: smtp://, smtps:// or smtp+starttls://[user:password@]host[:port]; "" sends nothing.
    smtp: str = ""
    mail_from: str = ""


class Order(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something to be done."""

    place: Place
    #: The broker's wall clock.
    now_ms: int


class Make(Order, frozen=True, kw_only=True):
    """Make a report."""

    period: str
    zone: str = "UTC"
    by: str = "tenant"
    tenant: str | None = None
    format: str = "json"


class Freeze(Order, frozen=True, kw_only=True):
    """Make and keep a month's report of all projects, to be closed."""

    month: str
    zone: str = "UTC"


class Tend(Order, frozen=True, kw_only=True):
    """Count on, make what is due by schedule, deliver what is not delivered."""


class FoldUse(Order, frozen=True, kw_only=True):
    """Say to what the use of the next hours is folded that ended before a moment."""

    before_ms: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: an error, or a file, or what a closing needs."""

    error: ErrorInfo | None = None
    body: bytes = b""
    media_type: str = ""
    file_name: str = ""
    sha256: str = ""
    entries: int = 0
    #: Of Tend: made, delivered, still to be delivered.
    made: int = 0
    delivered: int = 0
    troubles: list[str] = []
    #: Of FoldUse, in order.
    folds: list[Fold] = []
