"""Every record of the journal carries its size and a checksum chained to the record before.

The checksum's definition is repeated here as it was at this revision: a migration must not change with the code.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_PAGE = 5_000


def upgrade() -> None:
    """Add the columns and fill them, in order."""
    op.add_column("journal", sa.Column("size", sa.Integer))
    op.add_column("journal", sa.Column("crc", sa.BigInteger))
    connection = op.get_bind()
    fill = sa.text("UPDATE journal SET size = :size, crc = :crc WHERE seq = :seq")
    crc = 0
    for page in _pages(connection):
        filled = []
        for seq, schema_version, at_ms, slice_id, record in page:
            head = f"{seq} {schema_version} {at_ms} {slice_id or ''} {len(record)} ".encode()
            crc = zlib.crc32(record, zlib.crc32(head, crc))
            filled.append({"seq": seq, "size": len(record), "crc": crc})
        connection.execute(fill, filled)
    with op.batch_alter_table("journal") as table:
        table.alter_column("size", existing_type=sa.Integer, nullable=False)
        table.alter_column("crc", existing_type=sa.BigInteger, nullable=False)


def downgrade() -> None:
    """Drop the columns."""
    with op.batch_alter_table("journal") as table:
        table.drop_column("crc")
        table.drop_column("size")


def _pages(connection: sa.Connection) -> Iterator[list[tuple[Any, ...]]]:
    query = sa.text(
        "SELECT seq, schema_version, at_ms, slice_id, record FROM journal WHERE seq > :after ORDER BY seq LIMIT :page"
    )
    after = 0
    while page := [tuple(row) for row in connection.execute(query, {"after": after, "page": _PAGE})]:
        yield page
        after = page[-1][0]
