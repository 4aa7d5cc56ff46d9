"""The audit log: who did what. Rows are added and, when their time is over, dropped from the old end; never changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from gpupool_broker.store.access_tables import audit
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import translated
from gpupool_broker.store.writer import Writer

#: What the sign before a wildcard is in LIKE.
_ESCAPE: Final = "\\"


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """One change, or attempt at one."""

    #: Given when it is stored.
    seq: int = 0
    at_ms: int
    #: Name, role and tenant of whoever did it, what it was done with ("user …", "token …", "session …"), and from where.
    who: str
    role: str = ""
    tenant: str = ""
    credential: str = ""
    address: str = ""
    #: Such as slice.resize; and of what: an id or a name.
    action: str
    target: str = ""
    #: "done", or the code of the error it ended with.
    outcome: str = "done"
    remark: str = ""
    #: JSON.
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditQuery:
    """Which entries are wanted: all that is said holds."""

    since_ms: int | None = None
    until_ms: int | None = None
    who: str | None = None
    #: The whole, or what stands before a dot: "slice" finds slice.resize.
    action: str | None = None
    #: A part of the target.
    target: str | None = None
    outcome: str | None = None
    #: Older than this entry.
    below_seq: int | None = None


class AuditStore:
    """Keeps the entries. Thread-safe."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._engine = database.engine
        self._writer = writer

    def add(self, entries: Sequence[AuditEntry]) -> list[AuditEntry]:
        """Keep entries in one transaction, numbered on from the last; return them with their numbers."""
        with self._writer.begin() as connection:
            last: int = connection.scalar(sa.select(sa.func.max(audit.c.seq))) or 0
            numbered = [replace(entry, seq=last + number) for number, entry in enumerate(entries, 1)]
            connection.execute(sa.insert(audit), [asdict(entry) for entry in numbered])
        return numbered

    def find(self, query: AuditQuery, limit: int) -> list[AuditEntry]:
        """Return the newest entries that are wanted, newest first."""
        wanted = sa.select(audit).where(*_conditions(query)).order_by(audit.c.seq.desc()).limit(limit)
        with translated(), self._engine.connect() as connection:
            return [AuditEntry(**row) for row in connection.execute(wanted).mappings()]

    def drop_before(self, at_ms: int) -> int:
        """Drop entries that are older; return how many. The last one stays, so that numbers go on from it."""
        with self._writer.begin() as connection:
            last = sa.select(sa.func.max(audit.c.seq)).scalar_subquery()
            return connection.execute(sa.delete(audit).where(audit.c.at_ms < at_ms, audit.c.seq < last)).rowcount

    def newest_ms(self) -> int:
        """Return the moment of the newest entry, 0 where there is none."""
        with translated(), self._engine.connect() as connection:
            return connection.scalar(sa.select(audit.c.at_ms).order_by(audit.c.seq.desc()).limit(1)) or 0


def _conditions(query: AuditQuery) -> list[sa.ColumnElement[bool]]:
    tests: dict[str, Callable[[Any], sa.ColumnElement[bool]]] = {
        "since_ms": lambda since: audit.c.at_ms >= since,
        "until_ms": lambda until: audit.c.at_ms < until,
        "who": lambda who: audit.c.who == who,
        "action": lambda action: sa.or_(audit.c.action == action, audit.c.action.startswith(f"{action}.", autoescape=True)),
        "target": lambda target: audit.c.target.contains(target, autoescape=True, escape=_ESCAPE),
        "outcome": lambda outcome: audit.c.outcome == outcome,
        "below_seq": lambda seq: audit.c.seq < seq,
    }
    given = {name: getattr(query, name) for name in tests}
    return [tests[name](value) for name, value in given.items() if value is not None]
