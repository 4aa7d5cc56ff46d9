"""The routes of whoever runs the service: snapshots, and what is alive."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Request

from gpupool_ocr.plans.diff import diff
from gpupool_ocr.plans.reading import MAX_BYTES, read_snapshot
from gpupool_ocr.plans.spec import Snapshot
from gpupool_ocr.rollouts.desired import Desired
from gpupool_ocr.rollouts.store import SnapshotStore
from gpupool_ocr.service.intake import receive_body
from gpupool_ocr.service.parts import Parts
from gpupool_ocr.service.recognizing import caller_of
from gpupool_ocr.service.shapes import ANSWERS
from gpupool_wire.errors import NotAuthorized

_YAML = {"requestBody": {"required": True, "content": {"application/yaml": {"schema": {"type": "string"}}}}}
Number = Annotated[int, Path(ge=1, le=1 << 31)]


def make_router(parts: Parts) -> APIRouter:
    """Return the routes of an administrator."""
    router = APIRouter(prefix="/v1/admin", tags=["snapshots"], responses={**ANSWERS, 403: ANSWERS[401]})
    _add_views(router, parts)
    _add_changes(router, parts)
    return router


def _admin(parts: Parts, request: Request) -> str:
    """Return who asks. Raises Unauthorized, NotAuthorized."""
    caller = caller_of(parts, request)
    if not caller.spec.is_admin:
        raise NotAuthorized(f"tenant {caller.tenant!r} is no administrator of this service")
    return caller.tenant


def _add_views(router: APIRouter, parts: Parts) -> None:
    store = parts.rollouts.store

    @router.get("/status")
    async def status(request: Request) -> dict[str, Any]:
        """The desired state, and what is alive (static and dynamic snapshot), with the difference."""
        _admin(parts, request)
        state = await asyncio.to_thread(store.desired)
        beats = await asyncio.to_thread(parts.heartbeats.store.alive)
        wanted = {state.active, *([state.candidate] if state.candidate else [])}
        return {
            "desired": _plain(state),
            "instances": [{**_plain(beat), "lacks": sorted(wanted - set(beat.releases))} for beat in beats],
            "waiting": parts.board.waiting,
            "parts": parts.workshop.parts,
        }

    @router.get("/snapshots")
    async def history(request: Request) -> list[dict[str, Any]]:
        """All snapshots, newest first."""
        _admin(parts, request)
        entries = [_plain(entry) for entry in await asyncio.to_thread(store.history)]
        return [{key: value for key, value in entry.items() if key != "yaml"} for entry in entries]

    @router.get("/snapshots/{number}")
    async def show(request: Request, number: Number) -> dict[str, Any]:
        """One snapshot as it was applied."""
        _admin(parts, request)
        return _plain(await asyncio.to_thread(store.get, number))

    @router.get("/snapshots/{number}/changes")
    async def changes(request: Request, number: Number) -> dict[str, Any]:
        """What a snapshot of the history would change of the active one."""
        _admin(parts, request)
        entry = await asyncio.to_thread(store.get, number)
        return await asyncio.to_thread(_difference, store, read_snapshot(entry.yaml))

    @router.post("/diff", openapi_extra=_YAML)
    async def compare(request: Request) -> dict[str, Any]:
        """What applying a snapshot would change. Nothing is opened."""
        _admin(parts, request)
        snapshot = read_snapshot(await receive_body(request, MAX_BYTES))
        return await asyncio.to_thread(_difference, store, snapshot)


def _add_changes(router: APIRouter, parts: Parts) -> None:
    rollouts = parts.rollouts

    @router.post("/snapshots", openapi_extra=_YAML)
    async def apply(
        request: Request,
        percent: Annotated[int | None, Query(ge=0, le=100, description="Share of a candidate; left out, active at once.")] = None,
        shadow: Annotated[bool, Query(description="A candidate that only reads along.")] = False,
        note: Annotated[str, Query(max_length=200)] = "",
    ) -> dict[str, Any]:
        """Open a snapshot, have it read its golden samples, and make it active, or a candidate."""
        who = _admin(parts, request)
        snapshot = read_snapshot(await receive_body(request, MAX_BYTES))
        number, proof = await asyncio.to_thread(rollouts.apply, snapshot, by=who, note=note, percent=percent, shadow=shadow)
        desired = await asyncio.to_thread(rollouts.store.desired)
        return {"number": number, "recall": proof.recall, "samples": proof.samples, "desired": _plain(desired)}

    @router.post("/promote")
    async def promote(request: Request) -> dict[str, Any]:
        """Make the candidate active."""
        _admin(parts, request)
        return _plain(await asyncio.to_thread(rollouts.promote))

    @router.post("/rollback")
    async def roll_back(
        request: Request, number: Annotated[int | None, Query(ge=1, le=1 << 31, description="Left out: the one before.")] = None
    ) -> dict[str, Any]:
        """Drop the candidate; without one, go back to the snapshot before."""
        _admin(parts, request)
        return _plain(await asyncio.to_thread(rollouts.roll_back, number))


def _difference(store: SnapshotStore, snapshot: Snapshot) -> dict[str, Any]:
    state = store.desired()
    active = read_snapshot(store.get(state.active).yaml) if state.active else None
    return {"active": state.active, "changes": [dataclasses.asdict(change) for change in diff(active, snapshot)]}


def _plain(record: msgspec.Struct | Desired) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(record, str_keys=True)
    return plain
