"""What SQLite and PostgreSQL do differently: how they are opened, who may write, how many rows are written quickly.

    open_database(url) ──> Database ──take──> the one connection that may write, or None while another broker has it

The right to write is held by the very connection that writes. On PostgreSQL it is a session-level advisory lock, which the server
frees when that connection ends, however it ends; a commit on the connection so proves that the right was held. On SQLite it is a
lock on a file beside the database, which the kernel frees when the process ends.
"""

from __future__ import annotations

import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import SQLAlchemyError

from gpupool_broker.store.errors import JournalDamaged, StoreFailed, translated
from gpupool_broker.store.tables import journal
from gpupool_broker.store.wal import wal_state
from gpupool_wire.errors import UsageError

#: One row of the journal, in the order of its columns.
Row = tuple[Any, ...]
#: "gpupool" as PostgreSQL's advisory locks are named, by a 64-bit number. A database has locks of its own.
ADVISORY_LOCK = int.from_bytes(b"gpupool")
#: From this many rows on, PostgreSQL's COPY is quicker than an INSERT, in spite of its two more round trips.
COPY_FROM_ROWS = 50
#: A server that does not answer for so long is gone, and so is, for the server, a broker (seconds).
SILENCE_S = 5
_COLUMNS = [column.name for column in journal.columns]
_TYPES = {"BIGINT": "int8", "INTEGER": "int4", "VARCHAR": "varchar", "BLOB": "bytea"}
_KEEPALIVE = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": SILENCE_S - 2}


class Database(ABC):
    """A database that brokers keep their journal in."""

    #: Whether the last commit was found incomplete when the right to write was taken: the database drops it.
    was_cut = False

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.engine.url.render_as_string()}>"

    @abstractmethod
    def take(self) -> sa.Connection | None:
        """Take the right to write: return the connection that holds it, or None while another broker does.

        Raises StoreFailed where the database does not answer.
        """

    @abstractmethod
    def insert(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        """Insert rows into the journal."""

    def migrate(self, connection: sa.Connection, revision: str = "head") -> None:
        """Bring the tables up to date, or down to an older revision; "base" drops them."""
        config = Config()
        config.set_main_option("script_location", str(files("gpupool_broker.store") / "migrations"))
        config.attributes["connection"] = connection
        (command.upgrade if revision == "head" else command.downgrade)(config, revision)

    def close(self) -> None:
        """Close all connections, and with them the right to write."""
        self.engine.dispose()


class Sqlite(Database):
    """A file. Runs in WAL mode with synchronous=FULL: a commit is on the disk before it returns."""

    def __init__(self, url: str) -> None:
        super().__init__(sa.create_engine(url, connect_args={"check_same_thread": False, "timeout": 5}))
        sa.event.listen(self.engine, "connect", _prepare_sqlite)
        sa.event.listen(self.engine, "begin", _begin_sqlite)
        self.path = Path(self.engine.url.database) if self.engine.url.database else None
        self._lock: int | None = None

    def take(self) -> sa.Connection | None:
        """Take the lock on the file beside the database."""
        if self.path is not None and self._lock is None:
            try:
                # Made before SQLite would: keys are in it, which only its owner may read.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreFailed(f"the database {self.path} cannot be used: {error}") from error
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return None
            self._lock = lock
            self._look_at_wal(self.path.with_name(f"{self.path.name}-wal"))
        with translated():
            return self.engine.connect()

    def _look_at_wal(self, path: Path) -> None:
        state = wal_state(path)
        if state.damaged_frame is not None:
            raise JournalDamaged(
                f"frame {state.damaged_frame} of {path} is damaged, and acknowledged commits follow it: restore that file, or "
                "the database from a backup; without that file SQLite would go on from an older state",
                frame=state.damaged_frame,
            )
        self.was_cut = state.is_cut

    def insert(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        """Insert rows into the journal, as the driver likes them: SQLAlchemy would take twice the time."""
        marks = ", ".join("?" * len(_COLUMNS))
        connection.exec_driver_sql(f"INSERT INTO journal ({', '.join(_COLUMNS)}) VALUES ({marks})", list(rows))  # noqa: S608

    def close(self) -> None:
        """Close the file, then let others write."""
        super().close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Postgres(Database):
    """A PostgreSQL server, reached with psycopg."""

    def __init__(self, url: str) -> None:
        super().__init__(sa.create_engine(url, pool_pre_ping=True, connect_args=_CONNECT))
        self._candidate: sa.Connection | None = None

    def take(self) -> sa.Connection | None:
        """Take the advisory lock, on a connection that is kept for the next attempt where another has it."""
        try:
            with translated():
                if self._candidate is None:
                    self._candidate = self.engine.connect()
                    # Never back into the pool: whoever got it there would hold the lock without knowing.
                    self._candidate.detach()
                candidate = self._candidate
                taken = candidate.scalar(sa.select(sa.func.pg_try_advisory_lock(ADVISORY_LOCK)))
                candidate.commit()
        except StoreFailed:
            self._drop_candidate()
            raise
        if not taken:
            return None
        self._candidate = None
        return candidate

    def insert(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        """Insert rows into the journal: few of them in a pipeline, many with COPY."""
        columns = ", ".join(_COLUMNS)
        if len(rows) < COPY_FROM_ROWS:
            marks = ", ".join(["%s"] * len(_COLUMNS))
            connection.exec_driver_sql(f"INSERT INTO journal ({columns}) VALUES ({marks})", list(rows))  # noqa: S608
            return
        import psycopg

        driver: Any = connection.connection.dbapi_connection
        try:
            with driver.cursor() as cursor, cursor.copy(f"COPY journal ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types([_TYPES[str(column.type).partition("(")[0]] for column in journal.columns])
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:
            if driver.closed:
                connection.invalidate(error)
            raise StoreFailed(f"the broker's store failed: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self._drop_candidate()
        super().close()

    def _drop_candidate(self) -> None:
        if self._candidate is not None:
            with suppress(SQLAlchemyError):
                self._candidate.close()
            self._candidate = None


#: Both ends notice within SILENCE_S where the other's machine has gone without a word; a process that ends is noticed at once.
_CONNECT: dict[str, Any] = {
    "connect_timeout": SILENCE_S,
    "keepalives": 1,
    **_KEEPALIVE,
    "tcp_user_timeout": SILENCE_S * 1000,
    "options": " ".join(f"-c tcp_{name}={value}" for name, value in _KEEPALIVE.items()),
}


def open_database(url: str) -> Database:
    """Return the database of a SQLAlchemy URL; nothing is connected yet. Raises UsageError for one that is not understood."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise UsageError(f"--database {url!r} is not understood: write sqlite:///PATH or {_EXAMPLE}") from error
    kinds = {"sqlite": Sqlite, "postgresql": Postgres}
    kind = kinds.get(parsed.get_backend_name())
    if kind is None:
        raise UsageError(f"--database: {parsed.get_backend_name()} is not supported: write sqlite:///PATH or {_EXAMPLE}")
    if kind is Postgres:
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        return kind(parsed.render_as_string(hide_password=False))
    except ImportError as error:
        raise UsageError(f"--database: {parsed.drivername} needs the package {error.name}: install gpupool[broker]") from error


_EXAMPLE = "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file."""
    return f"sqlite:///{path}"


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the DBAPI's own connection
    # The driver would begin a transaction before some statements only: a migration that is interrupted would be half done.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
