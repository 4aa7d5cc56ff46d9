"""REST of the scheduler: quotas, the queue and what explains it, reservations, moving idle slices together."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query

from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import ADMIN, TENANT
from gpupool_broker.api import scheduling_shapes as shapes
from gpupool_broker.api.quota_shapes import QuotaEffectShape
from gpupool_broker.api.wanted import ExplainRequest
from gpupool_broker.core import events as e
from gpupool_broker.core.defrag import Defrag, plan_defrag
from gpupool_broker.core.explain import what_if, why_waiting
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.quota_effect import effect_of
from gpupool_broker.core.quotas import Quota
from gpupool_broker.core.wants import want_of
from gpupool_broker.service import Broker
from gpupool_wire.errors import NotAuthorized, NotFound
from gpupool_wire.units import parse_compute, parse_memory

AccountPart = Annotated[str, Path(min_length=1, max_length=512, pattern="^[^/]*$")]
RequestId = Annotated[str, Path(max_length=512)]


def _by(token: Principal) -> str:
    return f"{token.role} {token.name}".strip()


def add_tenants(app: FastAPI, broker: Broker, reader: Any, admin: Any) -> None:  # noqa: ANN401 - FastAPI's Depends has no type
    """Add what tenants and their projects hold, and what they may hold."""

    @app.get("/api/v1/tenants", tags=["tenants"])
    def tenants(token: Principal = reader) -> list[shapes.TenantShape]:
        """Every tenant and project that holds something or has a quota."""

        def look(pool: Pool) -> list[shapes.TenantShape]:
            known = set(pool.quotas.held) | set(pool.quotas.limits)
            if token.role == TENANT:
                known = {name for name in known if name.partition("/")[0] == token.tenant} | {token.tenant}
            return [shapes.tenant_shape(pool, account) for account in sorted(known)]

        return broker.read(look)

    def preview(account: str, body: shapes.QuotaRequest, token: Principal) -> QuotaEffectShape:
        if token.role == TENANT:
            raise NotAuthorized(f"a token of tenant {token.tenant} cannot try quotas: ask an admin")
        limits = body.as_limits()
        limits.pop("revision")
        found = broker.read(lambda pool: effect_of(pool, account, Quota(**limits)))  # type: ignore[arg-type]
        return QuotaEffectShape.model_validate(found, from_attributes=True)

    @app.post("/api/v1/quotas/{tenant}/preview", tags=["tenants"])
    def preview_quota(tenant: AccountPart, body: shapes.QuotaRequest, token: Principal = reader) -> QuotaEffectShape:
        """What would be different if a tenant had this quota: who would be over, who would wait no more. Nothing is set."""
        return preview(tenant, body, token)

    @app.post("/api/v1/quotas/{tenant}/projects/{project}/preview", tags=["tenants"])
    def preview_project_quota(
        tenant: AccountPart, project: AccountPart, body: shapes.QuotaRequest, token: Principal = reader
    ) -> QuotaEffectShape:
        """What would be different if a project had this quota. Nothing is set."""
        return preview(f"{tenant}/{project}", body, token)

    def change(account: str, body: shapes.QuotaRequest, token: Principal) -> shapes.TenantShape:
        name = broker.ask(
            lambda caller, now_ms, at_ms: e.QuotaRequested(
                now_ms=now_ms, at_ms=at_ms, caller=caller, tenant=account, by=_by(token), **body.as_limits()
            )
        )
        return broker.read(lambda pool: shapes.tenant_shape(pool, name))

    @app.put("/api/v1/quotas/{tenant}", tags=["tenants"])
    def set_quota(tenant: AccountPart, body: shapes.QuotaRequest, token: Principal = admin) -> shapes.TenantShape:
        """Set what a tenant may hold, and what it is guaranteed. What it holds already is not taken away by a lower limit."""
        return change(tenant, body, token)

    @app.put("/api/v1/quotas/{tenant}/projects/{project}", tags=["tenants"])
    def set_project_quota(
        tenant: AccountPart, project: AccountPart, body: shapes.QuotaRequest, token: Principal = admin
    ) -> shapes.TenantShape:
        """Set what one project of a tenant may hold, and what it is guaranteed within the tenant."""
        return change(f"{tenant}/{project}", body, token)


def add_queue(app: FastAPI, broker: Broker, reader: Any, changer: Any) -> None:  # noqa: ANN401
    """Add the queue, and why something waits."""

    @app.get("/api/v1/queue", tags=["queue"])
    def queue(limit: Annotated[int, Query(ge=1, le=100_000)] = 1_000, token: Principal = reader) -> list[shapes.WaitingShape]:
        """What waits for room, in the order in which it is served, and why."""

        def look(pool: Pool) -> list[shapes.WaitingShape]:
            rows: list[shapes.WaitingShape] = []
            for position, waiting in enumerate(pool.waiting.in_order(pool.standing), 1):
                if token.role != TENANT or waiting.event.tenant == token.tenant:
                    rows.append(shapes.waiting_shape(position, waiting))
                if len(rows) == limit:
                    break
            return rows

        return broker.read(look)

    @app.delete("/api/v1/queue/{request_id}", tags=["queue"])
    def cancel(request_id: RequestId, token: Principal = changer) -> shapes.Cancelled:
        """Take a waiting request out of the queue; who waits for it is told."""
        tenant = None if token.role == ADMIN else token.tenant
        broker.ask(
            lambda caller, now_ms, at_ms: e.CancelRequested(
                now_ms=now_ms, at_ms=at_ms, caller=caller, tenant=tenant, request_id=request_id, by=_by(token)
            )
        )
        return shapes.Cancelled(request_id=request_id)

    @app.get("/api/v1/queue/{request_id}/explain", tags=["queue"])
    def explain_waiting(request_id: RequestId, token: Principal = reader) -> shapes.ExplanationShape:
        """Why a request waits: its position, its quota, what blocks it on each device, what would admit it."""

        def look(pool: Pool) -> shapes.ExplanationShape:
            waiting = pool.waiting.get(request_id)
            if waiting is None or (token.role == TENANT and waiting.event.tenant != token.tenant):
                raise NotFound(f"no request {request_id[:64]} waits (any more)", request_id=request_id[:64])
            return shapes.ExplanationShape.model_validate(why_waiting(pool, waiting), from_attributes=True)

        return broker.read(look)

    @app.post("/api/v1/explain", tags=["queue"])
    def explain(body: ExplainRequest, token: Principal = reader) -> shapes.ExplanationShape:
        """What would become of a request: where it would go, or what blocks it, device by device, and what would admit it."""
        if token.role == TENANT and body.tenant not in (None, token.tenant):
            raise NotAuthorized(f"a token of tenant {token.tenant} cannot ask for another tenant")
        want = want_of(body.as_request("what-if"), body.tenant or token.tenant)
        found = broker.read(lambda pool: what_if(pool, want))
        return shapes.ExplanationShape.model_validate(found, from_attributes=True)


def add_reservations(app: FastAPI, broker: Broker, reader: Any, admin: Any) -> None:  # noqa: ANN401
    """Add windows of reserved room, and the moving together of idle slices."""

    @app.get("/api/v1/reservations", tags=["reservations"])
    def reservations(token: Principal = reader) -> list[shapes.ReservationShape]:
        """Reservations that are not over, by their beginning."""

        def look(pool: Pool) -> list[shapes.ReservationShape]:
            rows = sorted(pool.reservations.values(), key=lambda r: (r.start_ms, r.reservation_id))
            return [shapes.reservation_shape(pool, r) for r in rows if token.role != TENANT or r.tenant == token.tenant]

        return broker.read(look)

    @app.post("/api/v1/reservations", status_code=201, tags=["reservations"])
    def reserve(body: shapes.ReservationRequest, token: Principal = admin) -> shapes.ReservationShape:
        """Keep room on so many devices for a tenant or project in a window of time."""
        compute_pct, memory_mib = parse_compute(body.compute), parse_memory(body.memory)
        made = broker.ask(
            lambda caller, now_ms, at_ms: e.ReservationRequested(
                now_ms=now_ms,
                at_ms=at_ms,
                caller=caller,
                by=_by(token),
                request_id=body.request_id or uuid.uuid4().hex,
                start_at_ms=at_ms if body.start is None else int(body.start.timestamp() * 1000),
                end_at_ms=int(body.end.timestamp() * 1000),
                tenant=body.tenant,
                project=body.project,
                count=body.gpus,
                compute_pct=compute_pct,
                memory_mib=memory_mib,
                kind=body.kind,
            )
        )
        return broker.read(lambda pool: shapes.reservation_shape(pool, pool.reservations[made]))

    @app.delete("/api/v1/reservations/{reservation_id}", tags=["reservations"])
    def unreserve(reservation_id: RequestId, token: Principal = admin) -> shapes.Cancelled:
        """Cancel a reservation: what nobody uses of it is free."""
        broker.ask(
            lambda caller, now_ms, at_ms: e.ReservationCancelled(
                now_ms=now_ms, at_ms=at_ms, caller=caller, by=_by(token), reservation_id=reservation_id
            )
        )
        return shapes.Cancelled(request_id=reservation_id)

    @app.post("/api/v1/defrag", tags=["reservations"])
    def defrag(body: shapes.DefragRequest, token: Principal = admin) -> shapes.DefragShape:
        """Move idle slices together, so that larger requests fit; without `apply` only say what that would gain."""
        if body.apply:
            plan: Defrag = broker.ask(
                lambda caller, now_ms, at_ms: e.DefragRequested(
                    now_ms=now_ms, at_ms=at_ms, caller=caller, by=_by(token), at_most_pct=body.at_most_pct
                )
            )
        else:
            plan = broker.read(lambda pool: plan_defrag(pool, body.at_most_pct))
        return shapes.defrag_shape(plan, is_applied=body.apply)
