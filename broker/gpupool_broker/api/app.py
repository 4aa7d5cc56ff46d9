"""The REST application. Handlers run in threads and speak to the broker through `ask` and `read`."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Response
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from gpupool_broker.access.desks import Desks
from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import ADMIN, ROLES, TENANT
from gpupool_broker.api import inventory_shapes, shapes
from gpupool_broker.api.access import add_access
from gpupool_broker.api.access_shapes import token_shape, user_shape
from gpupool_broker.api.audit import add_audit
from gpupool_broker.api.changes import add_changes
from gpupool_broker.api.errors import ERRORS, answer_errors
from gpupool_broker.api.listed import Listed
from gpupool_broker.api.metrics import render
from gpupool_broker.api.overview import add_overview
from gpupool_broker.api.recording import look_at_pool, recording_route
from gpupool_broker.api.reports import add_reports
from gpupool_broker.api.scheduling import add_queue, add_reservations, add_tenants
from gpupool_broker.api.settings import add_settings
from gpupool_broker.api.tokens import add_tokens
from gpupool_broker.api.users import add_users
from gpupool_broker.api.wanted import SliceRequest
from gpupool_broker.api.who import Look, Who
from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.listing import devices_of, slices_of
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Slice
from gpupool_broker.core.story import figures_of, tell
from gpupool_broker.history import Recorder
from gpupool_broker.reports.desk import Desk
from gpupool_broker.service import Broker, wall_ms
from gpupool_broker.store.sql import SqlStore
from gpupool_wire.errors import NotFound
from gpupool_wire.units import parse_compute, parse_memory

TenantName = Annotated[str, Path(min_length=1, max_length=512)]
NodeName = Annotated[str, Path(max_length=512)]
SliceId = Annotated[str, Path(max_length=512)]


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
    _add_inventory(app, broker, reader)
    _add_upkeep(app, broker, admin)
    add_tenants(app, broker, reader, admin)
    add_queue(app, broker, reader, changer)
    add_reservations(app, broker, reader, admin)
    _add_slices(app, broker, store, reader, changer)
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


def _add_inventory(app: FastAPI, broker: Broker, reader: Any) -> None:  # noqa: ANN401
    @app.get("/api/v1/nodes", tags=["inventory"])
    def nodes(_token: Principal = reader) -> list[inventory_shapes.NodeShape]:
        """Every node that ever joined."""
        return broker.read(lambda pool: [inventory_shapes.node_shape(pool, node) for _, node in sorted(pool.nodes.items())])

    @app.get("/api/v1/nodes/{node}", tags=["inventory"])
    def one_node(node: NodeName, token: Principal = reader) -> inventory_shapes.NodeDetail:
        """One node with its devices and their slices, and what happened to it lately."""
        return broker.read(lambda pool: inventory_shapes.node_detail(pool, node, token.tenant if token.role == TENANT else None))

    @app.get("/api/v1/devices", tags=["inventory"])
    def devices(
        response: Response,
        part: Listed,
        state: Annotated[str, Query(pattern="^(|up|away)$")] = "",
        node: Annotated[str, Query(max_length=512)] = "",
        with_slices: bool = False,
        token: Principal = reader,
    ) -> list[inventory_shapes.DeviceShape]:
        """Every device and how much of it is given out, or a part of that list; `X-Total-Count` says how long it is."""
        tenant = token.tenant if token.role == TENANT else None

        def look(pool: Pool) -> tuple[list[inventory_shapes.DeviceShape], int]:
            rows, total = devices_of(pool, part.as_part(), state, node)
            return [
                inventory_shapes.device_shape(
                    pool, one, device, inventory_shapes.held_shapes(pool, device, tenant) if with_slices else None
                )
                for one, device in rows
            ], total

        found, total = broker.read(look)
        response.headers["X-Total-Count"] = str(total)
        return found


def _add_upkeep(app: FastAPI, broker: Broker, admin: Any) -> None:  # noqa: ANN401
    def cordoned(node: str, token: Principal, drain_ms: int | None) -> inventory_shapes.NodeShape:
        by = f"{token.role} {token.name}".strip()
        found = broker.ask(
            lambda caller, now_ms, at_ms: e.CordonRequested(
                now_ms=now_ms, at_ms=at_ms, caller=caller, node=node, by=by, drain_ms=drain_ms
            )
        )
        return broker.read(lambda pool: inventory_shapes.node_shape(pool, found))

    @app.post("/api/v1/nodes/{node}/cordon", tags=["inventory"])
    def cordon(node: NodeName, token: Principal = admin) -> inventory_shapes.NodeShape:
        """Place nothing new on a node; what is there stays."""
        return cordoned(node, token, None)

    @app.post("/api/v1/nodes/{node}/drain", tags=["inventory"])
    def drain(node: NodeName, body: shapes.Drain, token: Principal = admin) -> inventory_shapes.NodeShape:
        """Empty a node: its slices move to other nodes, or end when the time is over."""
        return cordoned(node, token, int(body.deadline_s * 1000))

    @app.post("/api/v1/nodes/{node}/uncordon", tags=["inventory"])
    def uncordon(node: NodeName, token: Principal = admin) -> inventory_shapes.NodeShape:
        """Give a cordoned or drained node back to the pool."""
        by = f"{token.role} {token.name}".strip()
        found = broker.ask(
            lambda caller, now_ms, at_ms: e.UncordonRequested(now_ms=now_ms, at_ms=at_ms, caller=caller, node=node, by=by)
        )
        return broker.read(lambda pool: inventory_shapes.node_shape(pool, found))


def _add_slices(app: FastAPI, broker: Broker, store: SqlStore, reader: Any, changer: Any) -> None:  # noqa: ANN401
    def shown(slice_: Slice) -> shapes.SliceShape:
        return broker.read(lambda pool: shapes.slice_shape(pool, slice_, wall_ms()))

    @app.get("/api/v1/slices", tags=["slices"])
    def slices(
        response: Response,
        part: Listed,
        state: Annotated[str, Query(pattern="^(live|all|paused|stranded|starving|ended)$")] = "live",
        tenant: Annotated[str | None, Query(max_length=512)] = None,
        node: Annotated[str, Query(max_length=512)] = "",
        device: Annotated[str, Query(max_length=512)] = "",
        token: Principal = reader,
    ) -> list[shapes.SliceShape]:
        """Slices: those that are not over, or with `state=all` the recently ended too, or a part of that list.

        `X-Total-Count` says how long the list is.
        """
        only = token.tenant if token.role == TENANT else tenant

        def look(pool: Pool) -> tuple[list[shapes.SliceShape], int]:
            rows, total = slices_of(pool, part.as_part(), state, only, (node, device))
            return [shapes.slice_shape(pool, slice_, wall_ms()) for slice_ in rows], total

        found, total = broker.read(look)
        response.headers["X-Total-Count"] = str(total)
        return found

    @app.post("/api/v1/slices", status_code=201, tags=["slices"])
    def create(body: SliceRequest, token: Principal = changer) -> shapes.SliceShape | shapes.GangShape:
        """Ask for a slice, or with `gpus` for several, all or none."""
        request = body.as_message(body.request_id or uuid.uuid4().hex)
        granted = broker.ask(
            lambda caller, now_ms, at_ms: e.SliceRequested(
                now_ms=now_ms, at_ms=at_ms, caller=caller, tenant=token.tenant, holder=token.name or "REST", request=request
            ),
            timeout_s=30 + body.wait_s,
        )
        if isinstance(granted, list):
            return shapes.GangShape(gang=granted[0].gang, slices=[shown(slice_) for slice_ in granted])
        return shown(granted)

    @app.get("/api/v1/slices/{slice_id}", tags=["slices"])
    def one(slice_id: SliceId, brief: bool = False, token: Principal = reader) -> shapes.SliceStory:
        """One slice, and what happened to it; `brief` leaves out what it used, which is told every few seconds."""
        shape = broker.read(
            lambda pool: shapes.slice_shape(pool, _visible(pool.slices.get(slice_id), slice_id, token), wall_ms())
        )
        story = [
            shapes.StoryLine(at=shapes.moment(fact.at_ms), fact=type(fact).__name__, text=tell(fact), figures=figures_of(fact))
            for fact in store.facts_of(slice_id)
            if not (brief and isinstance(fact, f.SliceUsed))
        ]
        return shapes.SliceStory(**shape.model_dump(), story=story)

    @app.patch("/api/v1/slices/{slice_id}", tags=["slices"])
    def resize(slice_id: SliceId, body: shapes.SliceChange, token: Principal = changer) -> shapes.SliceShape:
        """Change a live slice's size."""
        compute = None if body.compute is None else parse_compute(body.compute)
        memory = None if body.memory is None else parse_memory(body.memory)
        slice_ = broker.ask(
            lambda caller, now_ms, at_ms: e.ResizeRequested(
                now_ms=now_ms,
                at_ms=at_ms,
                caller=caller,
                tenant=_may_touch(token),
                slice_id=slice_id,
                request_id=body.request_id or uuid.uuid4().hex,
                compute_pct=compute,
                memory_mib=memory,
                deadline_ms=int(body.deadline_s * 1000),
            ),
            timeout_s=30 + body.deadline_s,
        )
        return shown(slice_)

    @app.post("/api/v1/slices/{slice_id}/pause", tags=["slices"])
    def pause(slice_id: SliceId, token: Principal = changer) -> shapes.SliceShape:
        """Let a slice stand still: it keeps its memory, and its compute is free for others until it is resumed."""
        return shown(broker.ask(lambda caller, now_ms, at_ms: e.PauseRequested(**stamp(caller, now_ms, at_ms, slice_id, token))))

    @app.post("/api/v1/slices/{slice_id}/resume", tags=["slices"])
    def resume(slice_id: SliceId, token: Principal = changer) -> shapes.SliceShape:
        """Let a paused slice go on, if its device has room for it."""
        return shown(broker.ask(lambda caller, now_ms, at_ms: e.ResumeRequested(**stamp(caller, now_ms, at_ms, slice_id, token))))

    def stamp(caller: e.Caller, now_ms: int, at_ms: int, slice_id: str, token: Principal) -> dict[str, Any]:
        return {
            "caller": caller,
            "now_ms": now_ms,
            "at_ms": at_ms,
            "slice_id": slice_id,
            "tenant": _may_touch(token),
            "request_id": uuid.uuid4().hex,
            "by": f"{token.role} {token.name}".strip(),
        }

    @app.delete("/api/v1/slices/{slice_id}", tags=["slices"])
    def release(slice_id: SliceId, token: Principal = changer) -> shapes.SliceShape:
        """Release a slice."""
        slice_ = broker.ask(
            lambda caller, now_ms, at_ms: e.ReleaseRequested(
                now_ms=now_ms,
                at_ms=at_ms,
                caller=caller,
                tenant=_may_touch(token),
                slice_id=slice_id,
                request_id=uuid.uuid4().hex,
                reason=f"released over REST by {token.role} {token.name}".strip(),
            )
        )
        return shown(slice_)


def _may_touch(token: Principal) -> str | None:
    return None if token.role == ADMIN else token.tenant


def _visible(slice_: Slice | None, slice_id: str, token: Principal) -> Slice:
    if slice_ is None or (token.role == TENANT and slice_.tenant != token.tenant):
        raise NotFound(f"there is no slice {slice_id[:64]}")
    return slice_
