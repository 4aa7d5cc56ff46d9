"""The REST application. Handlers run in threads and speak to the broker through `ask` and `read`."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from gpupool_broker.access.desks import Desks
from gpupool_broker.access.roles import ADMIN, ROLES, TENANT
from gpupool_broker.api.access import add_access
from gpupool_broker.api.access_shapes import token_shape, user_shape
from gpupool_broker.api.audit import add_audit
from gpupool_broker.api.changes import add_changes
from gpupool_broker.api.errors import ERRORS, answer_errors
from gpupool_broker.api.metrics import render
from gpupool_broker.api.nodes import add_inventory, add_upkeep
from gpupool_broker.api.overview import add_overview
from gpupool_broker.api.recording import look_at_pool, recording_route
from gpupool_broker.api.reports import add_reports
from gpupool_broker.api.scheduling import add_queue, add_reservations, add_tenants
from gpupool_broker.api.settings import add_settings
from gpupool_broker.api.slices import add_slices
from gpupool_broker.api.tokens import add_tokens
from gpupool_broker.api.users import add_users
from gpupool_broker.api.who import Look, Who
from gpupool_broker.history import Recorder
from gpupool_broker.reports.desk import Desk
from gpupool_broker.service import Broker, wall_ms
from gpupool_broker.store.sql import SqlStore


def make_app(broker: Broker, store: SqlStore, desks: Desks, version: str, reports: Desk, recorder: Recorder) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="gpupool", version=version, responses=ERRORS, docs_url=None, redoc_url=None)
    app.router.route_class = recording_route(desks.audit, desks.clock)
    answer_errors(app)
    who = Who(desks.doorkeeper, _look(broker, desks))
    reader, changer, admin = who(*ROLES, reads=True), who(ADMIN, TENANT), who(ADMIN)
    _add_health(app, broker, store)
    add_changes(app, broker, reader)
    add_overview(app, broker, store, recorder, reader)
    add_inventory(app, broker, reader)
    add_upkeep(app, broker, admin)
    add_tenants(app, broker, reader, admin)
    add_queue(app, broker, reader, changer)
    add_reservations(app, broker, reader, admin)
    add_slices(app, broker, store, reader, changer)
    add_access(app, desks, who)
    add_users(app, desks, who)
    add_tokens(app, desks.tokens, who)
    add_audit(app, desks.audit, who)
    add_settings(app, desks.settings, who)
    add_reports(app, broker, reports, who)
    return app


def _look(broker: Broker, desks: Desks) -> Look:
    """Return what shows, before it is changed, what a request's path is about."""

    def look(path: dict[str, str]) -> object:
        if "user" in path:
            user = next((one for one in desks.users.list() if one.name == path["user"]), None)
            return user and user_shape(user, len(desks.sessions.of(user_id=user.user_id)))
        if "token_id" in path:
            return next((token_shape(one) for one in desks.tokens.list() if one.token_id == path["token_id"]), None)
        return broker.read(lambda pool: look_at_pool(pool, path, wall_ms())) if path else None

    return look


def _add_health(app: FastAPI, broker: Broker, store: SqlStore) -> None:
    @app.get("/healthz", tags=["health"], response_class=PlainTextResponse)
    def healthz() -> str:
        """Whether the process lives."""
        return "ok\n"

    @app.get("/readyz", tags=["health"], response_class=PlainTextResponse)
    def readyz() -> str:
        """Whether turns are taken and the store answers."""
        if not (broker.is_serving and store.is_alive()):
            raise HTTPException(503, "the broker is not ready")
        return "ok\n"

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """The pool for Prometheus."""
        text = broker.read(lambda pool: render(pool, broker.tally, wall_ms()))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")
