"""Snapshots of the books, in pieces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    seq = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "snapshots",
        sa.Column("seq", seq, primary_key=True, autoincrement=False),
        sa.Column("crc", sa.BigInteger, nullable=False),
        sa.Column("shape", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("data_crc", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "snapshot_pieces",
        sa.Column("seq", seq, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables: the journal has it all."""
    op.drop_table("snapshot_pieces")
    op.drop_table("snapshots")
