"""What a store can fail with.

GpupoolError
└── StoreFailed           nothing of this was stored, or the database does not answer
    ├── JournalDamaged    a record is not what was written: named by its position
    ├── JournalFolded     use was folded while it was read: read again
    ├── RightLost         this broker may not write any more: whether its last commit was stored, only the journal says
    └── RightTaken        another broker writes to this database
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from gpupool_wire.errors import GpupoolError


class StoreFailed(GpupoolError):
    """The broker's store does not take or give what it should; nothing was acknowledged."""

    code = "store"
    http_status = 503


class JournalDamaged(StoreFailed):
    """A record of the journal cannot be read."""

    code = "journal_damaged"


class JournalFolded(StoreFailed):
    """Use was folded while it was read; read again, it is all there."""

    code = "journal_folded"


class RightLost(StoreFailed):
    """This broker may not write to its database any more."""

    code = "right_lost"


class RightTaken(StoreFailed):
    """Another broker writes to this database."""

    code = "right_taken"


@contextmanager
def translated(*wanted: type[SQLAlchemyError]) -> Iterator[None]:
    """SQLAlchemy's errors end here, but for those that are wanted."""
    try:
        yield
    except wanted:
        raise
    except SQLAlchemyError as error:
        raise StoreFailed(f"the broker's store failed: {error}") from error
