"""The store on SQLAlchemy: SQLite embedded, PostgreSQL for real. One broker writes to a database at a time.

open_database(url) ──take──> Writer ──> Journal, Snapshots, AccountStore, AuditStore, SettingStore, tokens, keys
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from gpupool_broker.core.facts import AnyFact, Fact
from gpupool_broker.core.folded import UseFolded
from gpupool_broker.store.accounts import AccountStore
from gpupool_broker.store.audit import AuditStore
from gpupool_broker.store.databases import Database, open_database
from gpupool_broker.store.errors import RightTaken, translated
from gpupool_broker.store.journal import Journal
from gpupool_broker.store.settings import SettingStore
from gpupool_broker.store.snapshots import Snapshots
from gpupool_broker.store.tables import keys, tokens
from gpupool_broker.store.writer import Writer


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
    #: Whether it may look and change nothing.
    read_only: bool = False
    made_by: str = ""


class SqlStore:
    """Journal, snapshots, tokens, accounts, audit log and settings in one database, and the right to write there."""

    def __init__(self, database: Database | str, writer: Writer | None = None) -> None:
        """Open a database, given itself or by its URL, with the right to write where it is had already, and migrate it.

        Raises RightTaken where another broker writes there, StoreFailed where it does not answer.
        """
        self.database = open_database(database) if isinstance(database, str) else database
        try:
            self.writer = writer or _writer(self.database)
            with self.writer.begin() as writing:
                self.database.migrate(writing)
            self.journal = Journal(self.database, self.writer)
            self.snapshots = Snapshots(self.database, self.writer)
            self.accounts = AccountStore(self.database, self.writer)
            self.audit = AuditStore(self.database, self.writer)
            self.settings = SettingStore(self.database, self.writer)
        except BaseException:
            self.database.close()
            raise

    def append(self, facts: Sequence[Fact]) -> None:
        """Write facts in one transaction, durable when this returns. Raises StoreFailed, and then none of them is stored."""
        self.journal.append(facts)

    def facts(self) -> Iterator[AnyFact | UseFolded]:
        """Yield every fact, oldest first. Raises JournalDamaged at the first record that is none, with its position."""
        return self.journal.facts()

    def facts_of(self, slice_id: str) -> list[AnyFact]:
        """Return the facts of one slice, oldest first."""
        return self.journal.facts_of(slice_id)

    def folded_of(self, slice_id: str, since_ms: int) -> list[UseFolded]:
        """Return what is folded of one slice's use since a moment (wall clock), oldest first."""
        return self.journal.folded_of(slice_id, since_ms)

    def is_alive(self) -> bool:
        """Whether the database answers."""
        try:
            with self.database.engine.connect() as connection:
                connection.execute(sa.select(1))
        except SQLAlchemyError:
            return False
        return True

    def add_token(self, token: Token) -> None:
        """Keep a token."""
        row = {**asdict(token), "read_only": int(token.read_only)}
        with self.writer.begin() as connection:
            connection.execute(sa.insert(tokens), row)

    def all_tokens(self) -> list[Token]:
        """Return every token, oldest first."""
        with translated(), self.database.engine.connect() as connection:
            rows = connection.execute(sa.select(tokens).order_by(tokens.c.created_ms, tokens.c.token_id)).mappings()
            return [Token(**{**row, "read_only": bool(row["read_only"])}) for row in rows]

    def mark_token(self, token_id: str, *, used_ms: int | None = None, revoked_ms: int | None = None) -> None:
        """Note that a token was used up or revoked."""
        changes = {name: value for name, value in (("used_ms", used_ms), ("revoked_ms", revoked_ms)) if value is not None}
        with self.writer.begin() as connection:
            connection.execute(sa.update(tokens).where(tokens.c.token_id == token_id).values(**changes))

    def note_token_uses(self, used_ms: Mapping[str, int]) -> None:
        """Keep when tokens were used last, by their ids."""
        if used_ms:
            change = sa.update(tokens).where(tokens.c.token_id == sa.bindparam("id")).values(used_ms=sa.bindparam("at"))
            with self.writer.begin() as connection:
                connection.execute(change, [{"id": token_id, "at": at_ms} for token_id, at_ms in used_ms.items()])

    def key(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return a secret key that all brokers of this database share; the first one makes it."""
        with self.writer.begin() as connection:
            known = connection.scalar(sa.select(keys.c.value).where(keys.c.name == name))
            if known is None:
                known = make()
                connection.execute(sa.insert(keys), {"name": name, "value": known})
            return bytes(known)

    def close(self) -> None:
        """Close the database, and let another broker write to it."""
        self.writer.close()
        self.database.close()


def _writer(database: Database) -> Writer:
    connection = database.take()
    if connection is None:
        raise RightTaken(
            f"another broker serves from {database.engine.url.render_as_string()}: stop it, choose another --database, "
            "or take over from it when it ends, with --standby"
        )
    return Writer(connection)
