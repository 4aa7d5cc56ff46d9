"""Use that was folded into quarter hours, in the place of the journal's records."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "folded_use",
        sa.Column("first_seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("crc", sa.BigInteger, nullable=False),
        sa.Column("clock_ms", sa.BigInteger, nullable=False),
        sa.Column("open_quarter", sa.BigInteger, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Column("record_crc", sa.BigInteger, nullable=False),
        sa.Column("is_swept", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    """Drop the table, which must be empty: nobody can make records of the use that was folded."""
    folded = op.get_bind().scalar(sa.text("SELECT count(*) FROM folded_use WHERE record <> :none"), {"none": b""})
    if folded:
        raise RuntimeError(f"the use of {folded} hours is folded: an older version cannot read this database")
    op.drop_table("folded_use")
