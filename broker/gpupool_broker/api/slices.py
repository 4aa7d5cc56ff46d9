"""REST of slices: lists, one with its story, asking for one, resizing, pausing, releasing."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Response

from gpupool_broker.access.principal import Principal
from gpupool_broker.access.roles import ADMIN, TENANT
from gpupool_broker.api import shapes
from gpupool_broker.api.listed import Listed
from gpupool_broker.api.wanted import SliceRequest
from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.listing import slices_of
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Slice
from gpupool_broker.core.story import figures_of, tell
from gpupool_broker.service import Broker, wall_ms
from gpupool_broker.store.sql import SqlStore
from gpupool_wire.errors import NotFound
from gpupool_wire.units import parse_compute, parse_memory

SliceId = Annotated[str, Path(max_length=512)]


def add_slices(app: FastAPI, broker: Broker, store: SqlStore, reader: Any, changer: Any) -> None:  # noqa: ANN401
    """Show slices to `reader`, and let `changer` ask for them and change them."""
    _add_list(app, broker, reader)
    _add_story(app, broker, store, reader)
    _add_asking(app, broker, changer)
    _add_resizing(app, broker, changer)
    _add_pausing(app, broker, changer)


def _add_list(app: FastAPI, broker: Broker, reader: Any) -> None:  # noqa: ANN401
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


def _add_story(app: FastAPI, broker: Broker, store: SqlStore, reader: Any) -> None:  # noqa: ANN401
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


def _add_asking(app: FastAPI, broker: Broker, changer: Any) -> None:  # noqa: ANN401
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
            return shapes.GangShape(gang=granted[0].gang, slices=[_shown(broker, slice_) for slice_ in granted])
        return _shown(broker, granted)

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
        return _shown(broker, slice_)


def _add_resizing(app: FastAPI, broker: Broker, changer: Any) -> None:  # noqa: ANN401
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
        return _shown(broker, slice_)


def _add_pausing(app: FastAPI, broker: Broker, changer: Any) -> None:  # noqa: ANN401
    def ask(kind: type[e.PauseRequested | e.ResumeRequested], slice_id: str, token: Principal) -> shapes.SliceShape:
        slice_ = broker.ask(
            lambda caller, now_ms, at_ms: kind(
                now_ms=now_ms,
                at_ms=at_ms,
                caller=caller,
                tenant=_may_touch(token),
                slice_id=slice_id,
                request_id=uuid.uuid4().hex,
                by=f"{token.role} {token.name}".strip(),
            )
        )
        return _shown(broker, slice_)

    @app.post("/api/v1/slices/{slice_id}/pause", tags=["slices"])
    def pause(slice_id: SliceId, token: Principal = changer) -> shapes.SliceShape:
        """Let a slice stand still: it keeps its memory, and its compute is free for others until it is resumed."""
        return ask(e.PauseRequested, slice_id, token)

    @app.post("/api/v1/slices/{slice_id}/resume", tags=["slices"])
    def resume(slice_id: SliceId, token: Principal = changer) -> shapes.SliceShape:
        """Let a paused slice go on, if its device has room for it."""
        return ask(e.ResumeRequested, slice_id, token)


def _shown(broker: Broker, slice_: Slice) -> shapes.SliceShape:
    return broker.read(lambda pool: shapes.slice_shape(pool, slice_, wall_ms()))


def _may_touch(token: Principal) -> str | None:
    return None if token.role == ADMIN else token.tenant


def _visible(slice_: Slice | None, slice_id: str, token: Principal) -> Slice:
    if slice_ is None or (token.role == TENANT and slice_.tenant != token.tenant):
        raise NotFound(f"there is no slice {slice_id[:64]}")
    return slice_
