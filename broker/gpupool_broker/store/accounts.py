"""Users and their sessions. Who reads is given everything: a data centre has hundreds of either."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from gpupool_broker.store.access_tables import sessions, users
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import translated
from gpupool_broker.store.writer import Writer
from gpupool_wire.errors import Conflict


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """Somebody who signs in."""

    user_id: str
    name: str
    role: str
    #: Whose slices a user of role tenant sees.
    tenant: str
    #: argon2id; "" for those that a provider signs in.
    password: str = ""
    #: Whether the password was made by another and has to be changed first.
    must_change: bool = False
    #: Issuer and subject at an OpenID provider.
    subject: str = ""
    created_ms: int
    used_ms: int | None = None
    disabled_ms: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """Somebody's stay, from signing in to signing out. Its secret is kept as a hash."""

    session_id: str
    sha256: str
    user_id: str = ""
    token_id: str = ""
    created_ms: int
    expires_ms: int
    used_ms: int
    address: str


class AccountStore:
    """Keeps both. Thread-safe."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._engine = database.engine
        self._writer = writer

    def users(self) -> list[User]:
        """Return every user, by name."""
        with translated(), self._engine.connect() as connection:
            rows = connection.execute(sa.select(users).order_by(users.c.name)).mappings()
            return [User(**{**row, "must_change": bool(row["must_change"])}) for row in rows]

    def add_user(self, user: User) -> None:
        """Keep a new user. Raises Conflict where the name is taken."""
        with self._writer.begin() as connection:
            try:
                connection.execute(sa.insert(users), _row(user))
            except IntegrityError as error:
                raise Conflict(f"there is a user {user.name!r} already", name=user.name) from error

    def keep_user(self, user: User) -> None:
        """Keep what has become of a user."""
        with self._writer.begin() as connection:
            connection.execute(sa.update(users).where(users.c.user_id == user.user_id).values(**_row(user)))

    def sessions(self) -> list[Session]:
        """Return every session that was not ended."""
        with translated(), self._engine.connect() as connection:
            return [Session(**row) for row in connection.execute(sa.select(sessions)).mappings()]

    def add_session(self, session: Session) -> None:
        """Keep a new session."""
        with self._writer.begin() as connection:
            connection.execute(sa.insert(sessions), asdict(session))

    def note_uses(self, used: Iterable[Session]) -> None:
        """Keep when sessions were used last."""
        rows = [{"id": session.session_id, "at": session.used_ms} for session in used]
        if rows:
            change = sa.update(sessions).where(sessions.c.session_id == sa.bindparam("id")).values(used_ms=sa.bindparam("at"))
            with self._writer.begin() as connection:
                connection.execute(change, rows)

    def end_sessions(self, session_ids: Iterable[str]) -> None:
        """Forget sessions."""
        ids = list(session_ids)
        if ids:
            with self._writer.begin() as connection:
                connection.execute(sa.delete(sessions).where(sessions.c.session_id.in_(ids)))


def _row(user: User) -> dict[str, object]:
    return {**asdict(user), "must_change": int(user.must_change)}
