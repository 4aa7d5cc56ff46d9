"""The one connection that writes, for as long as this broker may.

    begin ──> transaction ──commit──> stored
                  ├── refused (disk full, …): rolled back, the next one may work
                  └── the connection broke: RightLost, for good: another broker may write now, so this one never reconnects

Everything is written here, tokens and snapshots too, so that nothing at all can be written without the right to it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from gpupool_broker.store.errors import RightLost, StoreFailed, translated


class Writer:
    """Owns the connection that holds the right to write. Thread-safe: transactions take turns."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()
        self._lost: StoreFailed | None = None

    def __repr__(self) -> str:
        return f"<Writer, {'right lost' if self._lost else 'may write'}>"

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Yield the connection in a transaction, which is durable when this ends.

        Raises StoreFailed, and then nothing of it is stored; RightLost where the connection broke, and then nobody here knows.
        """
        with self._turn:
            self._raise_if_lost()
            try:
                with translated(), self._connection.begin():
                    yield self._connection
            except StoreFailed as error:
                if self._connection.invalidated or self._connection.closed:
                    self._lost = error
                    self._raise_if_lost()
                raise

    def check(self) -> None:
        """Raise RightLost where the connection is gone."""
        with self.begin() as connection:
            connection.execute(sa.select(1))

    def close(self) -> None:
        """Close the connection."""
        with self._turn, suppress(SQLAlchemyError):
            self._connection.close()

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise RightLost(
                f"the connection on which this broker may write has broken ({self._lost.message}): another broker may serve now; "
                "ask again with the same request id"
            ) from self._lost
