"""Reports, prices, closings and schedules over REST. Admin and finance see everybody's; a tenant's token its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Path, Query, Response

from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import ADMIN, FINANCE, TENANT
from gpupool_broker.api import report_shapes as shapes
from gpupool_broker.core import events as e
from gpupool_broker.core.accounting.build import is_within
from gpupool_broker.core.accounting.calendar import day_at, period_with, zone_of
from gpupool_broker.core.accounting.schedules import Schedule
from gpupool_broker.core.facts import CarbonSet, Entry, MonthFrozen, PriceSet
from gpupool_broker.reports.delivery import check_folder
from gpupool_broker.reports.desk import Desk
from gpupool_broker.reports.formats import FORMATS
from gpupool_broker.service import Broker, wall_ms
from gpupool_wire.errors import NotAuthorized, UsageError

Period = Annotated[str, Path(max_length=64, description="2026-10, 2026-W41, 2026-10-05 or 2026-10-05..2026-10-11")]
Month = Annotated[str, Path(pattern="^[0-9]{4}-[0-9]{2}$")]
Id = Annotated[str, Path(max_length=64)]
#: What a file is, for the OpenAPI document.
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report as a file",
        "content": {media.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}} for _, media in FORMATS.values()},
    }
}
Who = Callable[..., Any]
EntryT = TypeVar("EntryT", bound=Entry)


def add_reports(app: FastAPI, broker: Broker, reports: Desk, who: Who) -> None:
    """Add the routes."""
    reader, finance, admin = who(ADMIN, FINANCE, TENANT, reads=True), who(ADMIN, FINANCE), who(ADMIN)
    _add_reports(app, broker, reports, reader, finance)
    _add_prices(app, broker, reader, admin)
    _add_schedules(app, reports, finance, admin)
    _add_made(app, reports, finance)


def _add_reports(app: FastAPI, broker: Broker, reports: Desk, reader: Any, finance: Any) -> None:  # noqa: ANN401
    @app.get("/api/v1/reports/{period}", tags=["reports"], response_class=Response, responses=_FILE)
    def report(
        period: Period,
        zone: Annotated[str, Query(max_length=64)] = "UTC",
        by: shapes.Grouping = "tenant",
        tenant: Annotated[str | None, Query(max_length=512)] = None,
        format: shapes.Format = "json",  # noqa: A002 - its name in the query
        token: Principal = reader,
    ) -> Response:
        """Who held and used what in a month, week or day, and what it costs."""
        made = reports.make(period, zone=zone, by=by, tenant=_of_whom(token, tenant), format_=format)
        return _file(made.body, made.media_type, made.file_name)

    @app.post("/api/v1/reports/{month}/freeze", tags=["reports"])
    def freeze(month: Month, body: shapes.FreezeRequest, token: Principal = finance) -> shapes.FrozenShape:
        """Close a month: its figures are kept under their hash; prices entered later for it appear as adjustments."""
        closed = reports.freeze(month, body.zone)
        _enter(
            broker,
            lambda at_ms, by: MonthFrozen(
                at_ms=at_ms,
                by=by,
                month=month,
                zone=body.zone,
                sha256=closed.sha256,
                entries=closed.entries,
                without_advice=True,
            ),
            token,
        )
        return shapes.FrozenShape(month=month, zone=body.zone, sha256=closed.sha256)


def _add_prices(app: FastAPI, broker: Broker, reader: Any, admin: Any) -> None:  # noqa: ANN401
    @app.get("/api/v1/prices", tags=["reports"])
    def prices(_token: Principal = reader) -> list[shapes.PriceShape]:
        """Every price that was entered, in order. Of two for the same model and day, the later entry holds."""
        return broker.read(lambda pool: [shapes.price_shape(price) for price in pool.tariff.prices])

    @app.post("/api/v1/prices", status_code=201, tags=["reports"])
    def set_price(body: shapes.PriceRequest, token: Principal = admin) -> shapes.PriceShape:
        """Enter a price."""
        price = _enter(broker, lambda at_ms, by: PriceSet(at_ms=at_ms, by=by, **body.model_dump()), token)
        return shapes.price_shape(price)

    @app.get("/api/v1/carbon", tags=["reports"])
    def carbon(_token: Principal = reader) -> list[shapes.CarbonShape]:
        """Every carbon factor that was entered, in order."""
        return broker.read(lambda pool: [shapes.carbon_shape(one) for one in pool.tariff.carbons])

    @app.post("/api/v1/carbon", status_code=201, tags=["reports"])
    def set_carbon(body: shapes.CarbonRequest, token: Principal = admin) -> shapes.CarbonShape:
        """Enter a carbon factor."""
        return shapes.carbon_shape(_enter(broker, lambda at_ms, by: CarbonSet(at_ms=at_ms, by=by, **body.model_dump()), token))


def _add_schedules(app: FastAPI, reports: Desk, finance: Any, admin: Any) -> None:  # noqa: ANN401
    @app.get("/api/v1/report-schedules", tags=["reports"])
    def schedules(_token: Principal = finance) -> list[shapes.ScheduleShape]:
        """Every schedule."""
        return [shapes.schedule_shape(schedule) for schedule in reports.schedules.schedules()]

    @app.post("/api/v1/report-schedules", status_code=201, tags=["reports"])
    def schedule(body: shapes.ScheduleRequest, token: Principal = admin) -> shapes.ScheduleShape:
        """Have a report made, written and mailed whenever a day, week or month is over."""
        made = _schedule(body, f"{token.role} {token.name}".strip())
        reports.schedules.add(made)
        return shapes.schedule_shape(made)

    @app.delete("/api/v1/report-schedules/{schedule_id}", tags=["reports"])
    def unschedule(schedule_id: Id, _token: Principal = admin) -> shapes.ScheduleShape:
        """End a schedule; what it made stays."""
        return shapes.schedule_shape(reports.schedules.remove(schedule_id))


def _add_made(app: FastAPI, reports: Desk, finance: Any) -> None:  # noqa: ANN401
    @app.get("/api/v1/made-reports", tags=["reports"])
    def made_reports(_token: Principal = finance) -> list[shapes.MadeShape]:
        """The reports that schedules and closings made, newest first."""
        return [shapes.made_shape(made) for made in reports.schedules.made()]

    @app.get("/api/v1/made-reports/{report_id}", tags=["reports"], response_class=Response, responses=_FILE)
    def made_report(report_id: Id, _token: Principal = finance) -> Response:
        """One of them, as it was made."""
        made, body = reports.schedules.body(report_id)
        return _file(body, FORMATS[made.format][1], made.file_name)


def _of_whom(token: Principal, tenant: str | None) -> str | None:
    """Return whose report a token gets; raise NotAuthorized where it asks for another tenant's."""
    if token.role != TENANT:
        return tenant
    if tenant is not None and not is_within(tenant, token.tenant):
        raise NotAuthorized(f"a token of tenant {token.tenant} cannot see another tenant's report")
    return tenant or token.tenant


def _enter(broker: Broker, make: Callable[[int, str], EntryT], token: Principal) -> EntryT:
    """Have an entry journalled; return it, or raise why it cannot be."""
    entry = make(wall_ms(), f"{token.role} {token.name}".strip())
    broker.ask(lambda caller, now_ms, _at_ms: e.EntryRequested(now_ms=now_ms, at_ms=entry.at_ms, caller=caller, entry=entry))
    return entry


def _schedule(body: shapes.ScheduleRequest, by: str) -> Schedule:
    now_ms = wall_ms()
    zone_of(body.zone)
    if body.folder is None and not body.mail_to:
        raise UsageError("a schedule needs somewhere to put its reports: give folder, mail_to, or both")
    since = body.since or day_at(now_ms, body.zone).isoformat()
    return Schedule(
        schedule_id=f"rs-{uuid.uuid4().hex[:12]}",
        every=body.every,
        zone=body.zone,
        by=body.by,
        tenant=body.tenant,
        format=body.format,
        folder=None if body.folder is None else check_folder(body.folder),
        mail_to=list(body.mail_to),
        since=_first_day(since, body.every, body.zone),
        created_ms=now_ms,
        created_by=by,
    )


def _first_day(text: str, every: str, zone: str) -> str:
    try:
        return period_with(date.fromisoformat(text), every, zone).first.isoformat()
    except ValueError as error:
        raise UsageError(f"since {text[:64]!r} is no day: give it as 2026-10-01") from error


def _file(body: bytes, media_type: str, name: str) -> Response:
    return Response(body, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
