"""What the reports are made of, their schedules, and those that were made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "rollups",
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("node", sa.String(512), primary_key=True),
        sa.Column("device", sa.String(512), primary_key=True),
        sa.Column("tenant", sa.String(512), primary_key=True),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Column("is_fine", sa.Integer, nullable=False),
    )
    op.create_table(
        "rollup_state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "report_schedules",
        sa.Column("schedule_id", sa.String(64), primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "made_reports",
        sa.Column("report_id", sa.String(64), primary_key=True),
        sa.Column("schedule_id", sa.String(64), nullable=False),
        sa.Column("period", sa.String(64), nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
        sa.Column("next_try_ms", sa.BigInteger),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("schedule_id", "period", name="one_report_a_period"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("made_reports", "report_schedules", "rollup_state", "rollups"):
        op.drop_table(table)
