"""The tables of the reports. Every statement on them stands in `rollups.py` and `schedules.py`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Table, Text, UniqueConstraint

from gpupool_broker.store.tables import metadata

#: One row a UTC day, device and tenant. It has a row id: SQLite splits records of a kilobyte in tables without.
rollups = Table(
    "rollups",
    metadata,
    Column("day", Integer, primary_key=True),
    Column("node", String(512), primary_key=True),
    Column("device", String(512), primary_key=True),
    Column("tenant", String(512), primary_key=True),
    Column("record", LargeBinary, nullable=False),
    #: 1 while the record has its quarter hours.
    Column("is_fine", Integer, nullable=False),
)
#: One row: up to which fact the journal is counted, and the meter's state there.
rollup_state = Table(
    "rollup_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
)
report_schedules = Table(
    "report_schedules",
    metadata,
    Column("schedule_id", String(64), primary_key=True),
    Column("record", Text, nullable=False),
)
made_reports = Table(
    "made_reports",
    metadata,
    Column("report_id", String(64), primary_key=True),
    #: "" where it was made by no schedule.
    Column("schedule_id", String(64), nullable=False),
    Column("period", String(64), nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    #: When what is still to be delivered is tried again; NULL where nothing is.
    Column("next_try_ms", BigInteger),
    Column("record", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("schedule_id", "period", name="one_report_a_period"),
)
