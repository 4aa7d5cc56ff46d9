"""Schedules and the reports that were made, with their bytes."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from gpupool_broker.core.accounting.schedules import MadeReport, Schedule
from gpupool_broker.store.databases import Database
from gpupool_broker.store.errors import translated
from gpupool_broker.store.report_tables import made_reports, report_schedules
from gpupool_wire.errors import NotFound

#: A list is read by people; older reports are still there by their id.
MAX_LISTED = 1_000


class ScheduleStore:
    """Keeps both. Each call is one transaction, so several processes may use it."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine

    def add(self, schedule: Schedule) -> None:
        """Keep a schedule."""
        row = {"schedule_id": schedule.schedule_id, "record": _text(schedule)}
        with translated(), self._engine.begin() as connection:
            connection.execute(sa.insert(report_schedules), row)

    def remove(self, schedule_id: str) -> Schedule:
        """Make nothing by a schedule any more; raise NotFound. What it made stays."""
        which = report_schedules.c.schedule_id == schedule_id
        with translated(), self._engine.begin() as connection:
            record = connection.scalar(sa.select(report_schedules.c.record).where(which))
            if record is None:
                raise NotFound(f"there is no schedule {schedule_id[:64]}")
            connection.execute(sa.delete(report_schedules).where(which))
        return msgspec.json.decode(record, type=Schedule)

    def schedules(self) -> list[Schedule]:
        """Return every schedule, oldest first."""
        with translated(), self._engine.connect() as connection:
            records = connection.scalars(sa.select(report_schedules.c.record)).all()
        found = [msgspec.json.decode(record, type=Schedule) for record in records]
        return sorted(found, key=lambda schedule: (schedule.created_ms, schedule.schedule_id))

    def periods_made(self, schedule_id: str) -> set[str]:
        """Return the periods a schedule has a report of."""
        query = sa.select(made_reports.c.period).where(made_reports.c.schedule_id == schedule_id)
        with translated(), self._engine.connect() as connection:
            return set(connection.scalars(query))

    def keep(self, made: MadeReport, body: bytes, next_try_ms: int | None) -> bool:
        """Keep a report; return False where its schedule has one of that period already."""
        row = {
            "report_id": made.report_id,
            "schedule_id": made.schedule_id,
            "period": made.period,
            "made_ms": made.made_ms,
            "next_try_ms": next_try_ms,
            "record": _text(made),
            "body": body,
        }
        try:
            with translated(IntegrityError), self._engine.begin() as connection:
                connection.execute(sa.insert(made_reports), row)
        except IntegrityError:
            return False
        return True

    def note(self, made: MadeReport, next_try_ms: int | None) -> None:
        """Keep what has become of a report."""
        change = sa.update(made_reports).where(made_reports.c.report_id == made.report_id)
        with translated(), self._engine.begin() as connection:
            connection.execute(change.values(record=_text(made), next_try_ms=next_try_ms))

    def to_deliver(self, now_ms: int) -> list[MadeReport]:
        """Return the reports whose delivery is due, oldest first."""
        query = sa.select(made_reports.c.record).where(made_reports.c.next_try_ms <= now_ms).order_by(made_reports.c.made_ms)
        with translated(), self._engine.connect() as connection:
            return [msgspec.json.decode(record, type=MadeReport) for record in connection.scalars(query)]

    def made(self) -> list[MadeReport]:
        """Return the reports that were made, newest first."""
        newest = made_reports.c.made_ms.desc(), made_reports.c.period.desc(), made_reports.c.report_id
        query = sa.select(made_reports.c.record).order_by(*newest).limit(MAX_LISTED)
        with translated(), self._engine.connect() as connection:
            return [msgspec.json.decode(record, type=MadeReport) for record in connection.scalars(query)]

    def body(self, report_id: str) -> tuple[MadeReport, bytes]:
        """Return a report and its bytes; raise NotFound."""
        query = sa.select(made_reports.c.record, made_reports.c.body).where(made_reports.c.report_id == report_id)
        with translated(), self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"there is no report {report_id[:64]}")
        return msgspec.json.decode(row.record, type=MadeReport), row.body


def _text(record: Schedule | MadeReport) -> str:
    return msgspec.json.encode(record).decode()
