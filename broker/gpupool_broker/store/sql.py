"""The store on SQLAlchemy: SQLite embedded, PostgreSQL for real. What `append` returned from survives a kill -9.

SQLite runs in WAL mode with synchronous=FULL: a commit is on the disk before it returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import SQLAlchemyError

from gpupool_broker.core.facts import SCHEMA_VERSION, AnyFact, Fact, decode_fact, encode_fact
from gpupool_broker.store.tables import journal, tokens
from gpupool_wire.errors import GpupoolError


class StoreFailed(GpupoolError):
    """The broker's store does not take or give what it should; nothing was acknowledged."""

    code = "store"
    http_status = 503


class JournalDamaged(StoreFailed):
    """A record of the journal cannot be read."""

    code = "journal_damaged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token as it is kept: never itself, only its hash."""

    token_id: str
    sha256: str
    role: str
    tenant: str
    name: str
    created_ms: int
    expires_ms: int | None = None
    used_ms: int | None = None
    revoked_ms: int | None = None


class SqlStore:
    """Journal and tokens in one database. Used by one thread at a time."""

    def __init__(self, url: str) -> None:
        self.url = url
        options: dict[str, Any] = {}
        if url.startswith("sqlite"):
            options = {"connect_args": {"check_same_thread": False, "timeout": 5}}
        self._engine = sa.create_engine(url, **options)
        if url.startswith("sqlite"):
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
        with _translated():
            self._migrate()
            with self._engine.connect() as connection:
                self._next_seq: int = (connection.scalar(sa.select(sa.func.max(journal.c.seq))) or 0) + 1

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(files("gpupool_broker.store") / "migrations"))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def append(self, facts: Sequence[Fact]) -> None:
        """Write facts in one transaction, durable when this returns. Raises StoreFailed, and then none of them is stored."""
        rows = [
            {
                "seq": self._next_seq + offset,
                "schema_version": SCHEMA_VERSION,
                "at_ms": fact.at_ms,
                "slice_id": getattr(fact, "slice_id", None),
                "record": encode_fact(fact),
            }
            for offset, fact in enumerate(facts)
        ]
        with _translated(), self._engine.begin() as connection:
            connection.execute(sa.insert(journal), rows)
        self._next_seq += len(rows)

    def facts(self) -> Iterator[AnyFact]:
        """Yield every fact, oldest first. Raises JournalDamaged at the first record that is none, with its position."""
        query = sa.select(journal.c.seq, journal.c.record).order_by(journal.c.seq)
        with _translated(), self._engine.connect() as connection:
            for expected, (seq, record) in enumerate(connection.execution_options(yield_per=5_000).execute(query), start=1):
                if seq != expected:
                    raise JournalDamaged(f"record {expected} of the journal is missing (the next is {seq})", seq=expected)
                yield _read(seq, record)

    def facts_of(self, slice_id: str) -> list[AnyFact]:
        """Return the facts of one slice, oldest first."""
        query = sa.select(journal.c.seq, journal.c.record).where(journal.c.slice_id == slice_id).order_by(journal.c.seq)
        with _translated(), self._engine.connect() as connection:
            return [_read(seq, record) for seq, record in connection.execute(query)]

    def is_alive(self) -> bool:
        """Whether the database answers."""
        try:
            with self._engine.connect() as connection:
                connection.execute(sa.select(1))
        except SQLAlchemyError:
            return False
        return True

    def add_token(self, token: Token) -> None:
        """Keep a token."""
        row = {name: getattr(token, name) for name in Token.__dataclass_fields__}
        with _translated(), self._engine.begin() as connection:
            connection.execute(sa.insert(tokens), row)

    def all_tokens(self) -> list[Token]:
        """Return every token, oldest first."""
        with _translated(), self._engine.connect() as connection:
            rows = connection.execute(sa.select(tokens).order_by(tokens.c.created_ms, tokens.c.token_id)).mappings()
            return [Token(**row) for row in rows]

    def mark_token(self, token_id: str, *, used_ms: int | None = None, revoked_ms: int | None = None) -> None:
        """Note that a token was used up or revoked."""
        changes = {name: value for name, value in (("used_ms", used_ms), ("revoked_ms", revoked_ms)) if value is not None}
        with _translated(), self._engine.begin() as connection:
            connection.execute(sa.update(tokens).where(tokens.c.token_id == token_id).values(**changes))

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file."""
    return f"sqlite:///{path}"


def _read(seq: int, record: bytes) -> AnyFact:
    try:
        return decode_fact(record)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise JournalDamaged(f"record {seq} of the journal cannot be read: {error}", seq=seq) from error


@contextmanager
def _translated() -> Iterator[None]:
    """SQLAlchemy's errors end here."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreFailed(f"the broker's store failed: {error}") from error


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the DBAPI's own connection
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
