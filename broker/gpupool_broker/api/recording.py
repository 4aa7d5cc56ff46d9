"""Every change over REST, and every attempt at one by somebody who is known, becomes an entry of the audit log.

request ──> who? before? (Who) ──> handler ──> answer ──> entry: who, what, before, after, from where, when

What was there before is looked at by the parameters of the path, what is there after is the answer itself, so that a new route is
recorded without a word about it here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from gpupool_broker.access.audit import AuditDesk
from gpupool_broker.access.principal import Principal
from gpupool_broker.api import inventory_shapes, scheduling_shapes, shapes
from gpupool_broker.api.who import SAFE, address_of
from gpupool_broker.core.pool import Pool
from gpupool_broker.store.audit import AuditEntry
from gpupool_wire.errors import GpupoolError

#: What stands in an answer once and never in a log.
SECRETS: Final = frozenset({"token", "password", "one_time_password", "session"})
#: Where an answer says what was made.
NAMES: Final = ("slice_id", "gang", "reservation_id", "schedule_id", "id", "name", "month", "valid_from", "tenant")
#: An entry is read by people; a slice is 1 kB.
MAX_CHARS: Final = 16_000
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def look_at_pool(pool: Pool, path: Mapping[str, str], at_ms: int) -> BaseModel | None:
    """Return what of the pool a path is about, as REST shows it; None where it is about nothing of it."""
    if slice_ := pool.slices.get(path.get("slice_id", "")):
        return shapes.slice_shape(pool, slice_, at_ms)
    if node := pool.nodes.get(path.get("node", "")):
        return inventory_shapes.node_shape(pool, node)
    if reservation := pool.reservations.get(path.get("reservation_id", "")):
        return scheduling_shapes.reservation_shape(pool, reservation)
    if waiting := pool.waiting.get(path.get("request_id", "")):
        return scheduling_shapes.waiting_shape(0, waiting)
    if tenant := path.get("tenant"):
        return scheduling_shapes.tenant_shape(pool, "/".join(filter(None, (tenant, path.get("project")))))
    return None


def recording_route(audit: AuditDesk, clock: Callable[[], int]) -> type[APIRoute]:
    """Return the class of routes that record."""

    class RecordingRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()
            if set(self.methods or ()) <= SAFE:
                return handle
            action = f"{self.tags[0] if self.tags else 'rest'}.{self.name}"

            async def recorded(request: Request) -> Response:
                try:
                    answer = await handle(request)
                except (GpupoolError, HTTPException) as error:
                    outcome = error.code if isinstance(error, GpupoolError) else f"http {error.status_code}"
                    await record(request, outcome=outcome, remark=str(error))
                    raise
                await record(request, after=answer.body)
                return answer

            async def record(
                request: Request, *, after: bytes | memoryview = b"", outcome: str = "done", remark: str = ""
            ) -> None:
                principal: Principal | None = getattr(request.state, "principal", None)
                if principal is not None:
                    seen = _entry(request, principal, action, clock(), bytes(after))
                    entry = replace(seen, outcome=outcome, remark=_plain(remark)[:MAX_CHARS])
                    await run_in_threadpool(audit.record, entry)

            return recorded

    return RecordingRoute


def _entry(request: Request, principal: Principal, action: str, at_ms: int, after: bytes) -> AuditEntry:
    answer = _understood(after)
    path = "/".join(request.path_params.values())
    named = next((str(answer[name]) for name in NAMES if answer.get(name)), "") if isinstance(answer, dict) else ""
    before = getattr(request.state, "before", None)
    return AuditEntry(
        at_ms=at_ms,
        who=principal.name,
        role=principal.role,
        tenant=principal.tenant,
        credential=principal.credential,
        address=address_of(request),
        action=action,
        target=_plain(path or named)[:512],
        before=None if before is None else before.model_dump_json()[:MAX_CHARS],
        after=None if answer is None else json.dumps(without_secrets(answer))[:MAX_CHARS],
    )


def _understood(body: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def without_secrets(answer: Any) -> Any:  # noqa: ANN401 - JSON
    """Return an answer without what is shown once."""
    if isinstance(answer, dict):
        return {name: without_secrets(value) for name, value in answer.items() if name not in SECRETS}
    return [without_secrets(value) for value in answer] if isinstance(answer, list) else answer


def _plain(text: str) -> str:
    """Return a text that every database takes: path segments are whatever somebody wrote there."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
