"""What the process that makes reports does with an order."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from itertools import islice
from typing import Final

from gpupool_broker.core.accounting.calendar import Period, period_of
from gpupool_broker.core.accounting.freezing import FROZEN_BY
from gpupool_broker.core.accounting.report import Report
from gpupool_broker.core.accounting.schedules import MadeReport, Schedule, due, next_try_ms
from gpupool_broker.reports.delivery import deliver
from gpupool_broker.reports.folding import next_folds
from gpupool_broker.reports.formats import FORMATS, check_format, file_name, render
from gpupool_broker.reports.ledger import Ledger
from gpupool_broker.reports.orders import Answer, FoldUse, Freeze, Make, Order, Tend
from gpupool_broker.store.databases import Database, open_database
from gpupool_broker.store.folds import Fold
from gpupool_broker.store.schedules import ScheduleStore
from gpupool_wire.errors import Conflict, GpupoolError

#: Hours folded at once: no more than a day of them, nor more records than an hour of a large pool has.
MAX_HOURS: Final = 24
MAX_RECORDS: Final = 1_000_000
#: Of one schedule at once; after a year of downtime the rest follows a minute later.
MAX_DUE: Final = 40


def carry_out(order: Order) -> Answer:
    """Carry an order out; an error is the answer too."""
    database = open_database(order.place.database)
    try:
        match order:
            case Make():
                return _make(database, order)
            case Freeze():
                return _freeze(database, order)
            case Tend():
                return _tend(database, order)
            case FoldUse():
                return Answer(folds=_some(next_folds(database, order.before_ms)))
        raise AssertionError(f"no rule for {type(order).__name__}")
    except GpupoolError as error:
        return Answer(error=error.to_info())
    finally:
        database.close()


def _make(database: Database, order: Make) -> Answer:
    check_format(order.format)
    report = Ledger(database, order.now_ms).report(period_of(order.period, order.zone), by=order.by, tenant=order.tenant)
    return Answer(
        body=render(report, order.format),
        media_type=FORMATS[order.format][1],
        file_name=file_name(report, order.format),
        sha256=report.sha256(),
    )


def _freeze(database: Database, order: Freeze) -> Answer:
    ledger = Ledger(database, order.now_ms, keep=True)
    period = period_of(order.month, order.zone)
    if ledger.tariff.frozen_month(order.month, order.zone):
        raise Conflict(f"{order.month} in {order.zone} is frozen already: what changes now is shown as adjustments")
    report = ledger.report(period, by=FROZEN_BY)
    if not report.is_complete:
        raise Conflict(f"{order.month} is not over in {order.zone}, or its last quarter hour is not settled: freeze it later")
    body = render(report, "json")
    ScheduleStore(database).keep(_made(report, "json", body, order.now_ms, f"frozen-{uuid.uuid4().hex[:12]}"), body, None)
    return Answer(sha256=report.figures_sha256(), entries=len(ledger.tariff.entries))


def _tend(database: Database, order: Tend) -> Answer:
    ledger, store = Ledger(database, order.now_ms, keep=True), ScheduleStore(database)
    made = 0
    troubles: list[str] = []
    for schedule in store.schedules():
        for period in islice(due(schedule, store.periods_made(schedule.schedule_id), ledger.settled_ms), MAX_DUE):
            try:
                made += _make_due(ledger, store, schedule, period, order.now_ms)
            except GpupoolError as error:
                troubles.append(f"schedule {schedule.schedule_id}, {period.name}: {error.message}")
    delivered = 0
    for waiting in store.to_deliver(order.now_ms):
        result = deliver(waiting, store.body(waiting.report_id)[1], order.place, order.now_ms)
        store.note(result, None if result.is_delivered else next_try_ms(result.tries, order.now_ms))
        delivered += result.is_delivered
        if result.trouble:
            troubles.append(f"{result.file_name} {result.trouble}")
    return Answer(made=made, delivered=delivered, troubles=troubles)


def _some(folds: Iterable[Fold]) -> list[Fold]:
    found: list[Fold] = []
    for fold in folds:
        found.append(fold)
        if len(found) == MAX_HOURS or fold.last_seq - found[0].first_seq >= MAX_RECORDS:
            break
    return found


def _make_due(ledger: Ledger, store: ScheduleStore, schedule: Schedule, period: Period, now_ms: int) -> bool:
    report = ledger.report(period, by=schedule.by, tenant=schedule.tenant)
    body = render(report, schedule.format)
    made = _made(report, schedule.format, body, now_ms, schedule.schedule_id)
    made.to_folder, made.mail_to = schedule.folder, schedule.mail_to
    return store.keep(made, body, None if made.is_delivered else now_ms)


def _made(report: Report, format_: str, body: bytes, now_ms: int, schedule_id: str) -> MadeReport:
    return MadeReport(
        report_id=f"r-{uuid.uuid4().hex[:12]}",
        schedule_id=schedule_id,
        period=report.name,
        zone=report.zone,
        by=report.by,
        tenant=report.tenant,
        format=format_,
        file_name=file_name(report, format_),
        made_ms=now_ms,
        sha256=hashlib.sha256(body).hexdigest(),
        size=len(body),
    )
