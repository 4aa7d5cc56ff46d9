"""The routes of bad cases: a tenant sees, labels, exports and deletes its own pages, and nobody else's."""

from __future__ import annotations

import asyncio
import tempfile
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from gpupool_ocr.cases.case import REASONS, STATUSES, Case, Reason, Status
from gpupool_ocr.cases.correcting import draft_labels
from gpupool_ocr.cases.keeper import Keeper
from gpupool_ocr.cases.store import MAX_LISTED, CaseStore
from gpupool_ocr.cases.thumbnail import MAX_WIDTH, thumbnail
from gpupool_ocr.service.intake import receive_body
from gpupool_ocr.service.parts import Parts
from gpupool_ocr.service.recognizing import caller_of
from gpupool_ocr.service.shapes import ANSWERS, CASE_LABELS, BadCase, BadCases
from gpupool_wire.errors import NotFound, UsageError

#: Labels of one page; those of a dense page of A4 have 200 kB.
MAX_BODY_BYTES = 4 << 20
CaseId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
T = TypeVar("T")


def make_router(parts: Parts) -> APIRouter:
    """Return the routes of bad cases."""
    router = APIRouter(prefix="/v1", tags=["cases"], responses=ANSWERS)
    _add_views(router, parts)
    _add_changes(router, parts)
    return router


def _tenants(parts: Parts, request: Request) -> set[str]:
    """Return whose pages the asker may see. Raises Unauthorized."""
    caller = caller_of(parts, request)
    return {caller.tenant, *caller.spec.cases_of}


def _mine(store: CaseStore, case_id: str, tenants: Collection[str]) -> Case:
    """Return a case. Raises NotFound, with the same words for another tenant's as for none."""
    case = store.get(case_id)
    if case.tenant not in tenants:
        raise NotFound(f"there is no case {case_id}")
    return case


def _add_views(router: APIRouter, parts: Parts) -> None:
    keeper = parts.keeper

    @router.get("/cases", responses={200: {"model": BadCases}})
    async def cases(
        request: Request,
        status: Annotated[Status | None, Query(description=f"One of {', '.join(STATUSES)}.")] = None,
        reason: Annotated[Reason | None, Query(description=f"One of {', '.join(REASONS)}.")] = None,
        bid: Annotated[str | None, Query(max_length=64)] = None,
        trace: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LISTED - 1)] = 100,
        offset: Annotated[int, Query(ge=0, le=1 << 31)] = 0,
    ) -> Any:  # noqa: ANN401 - the model describes it
        """Pages that were read badly, the newest first."""
        tenants = _tenants(parts, request)
        wanted = {"status": status, "reason": reason, "business": bid, "trace": trace, "tenants": tenants}
        found = await _ask(keeper, lambda store: store.list(**wanted, limit=limit + 1, offset=offset))  # type: ignore[arg-type]
        return {"cases": [case.to_json() for case in found[:limit]], "more": len(found) > limit}

    @router.get("/cases.zip", responses={200: {"content": {"application/zip": {}}}})
    async def export(request: Request, bid: Annotated[str | None, Query(max_length=64)] = None) -> FileResponse:
        """Labelled pages as `gpupool ocr eval` and `tune` read them: a picture and its labels each."""
        tenants = _tenants(parts, request)
        path = await _ask(keeper, lambda store: _zip(store, bid, tenants))
        tidy = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/zip", filename="cases.zip", background=tidy)

    @router.get("/cases/{case_id}", responses={200: {"model": BadCase}})
    async def case(request: Request, case_id: CaseId) -> Any:  # noqa: ANN401 - the model describes it
        """One case; `draft` is what its labels would be if it had been read well."""
        tenants = _tenants(parts, request)
        found = await _ask(keeper, lambda store: _mine(store, case_id, tenants))
        return {**found.to_json(), "draft": draft_labels(found.result)}

    @router.get("/cases/{case_id}/picture", responses={200: {"content": {"image/png": {}}}})
    async def picture(
        request: Request,
        case_id: CaseId,
        width: Annotated[int | None, Query(ge=1, le=MAX_WIDTH, description="Made so small.")] = None,
    ) -> Response:
        """The page, as PNG."""
        tenants = _tenants(parts, request)

        def read(store: CaseStore) -> bytes | None:
            content = store.picture(_mine(store, case_id, tenants).id)
            return content if content is None or width is None else thumbnail(content, width)

        content = await _ask(keeper, read)
        if content is None:
            raise NotFound(f"no picture of case {case_id} is kept")
        # Whoever uses this browser next may be another tenant, and what is deleted is gone.
        return Response(content, media_type="image/png", headers={"Cache-Control": "no-store"})


def _add_changes(router: APIRouter, parts: Parts) -> None:
    keeper = parts.keeper

    @router.put("/cases/{case_id}/labels", responses={200: {"model": BadCase}}, openapi_extra=CASE_LABELS)
    async def label(request: Request, case_id: CaseId) -> Any:  # noqa: ANN401 - the model describes it
        """Say what is right of a page: all of its lines, and its fields."""
        tenants = _tenants(parts, request)
        labels = decode(await receive_body(request, MAX_BODY_BYTES), dict[str, Any])
        return (await _ask(keeper, lambda store: store.label(_mine(store, case_id, tenants).id, labels))).to_json()

    @router.delete("/cases/{case_id}", status_code=204)
    async def remove(request: Request, case_id: CaseId) -> None:
        """Forget a page, also as one that could be corrected."""
        tenants = _tenants(parts, request)

        def forget(store: CaseStore) -> None:
            case = _mine(store, case_id, tenants)
            keeper.forget(case.tenant, case.job)
            store.remove(case.id)

        await _ask(keeper, forget)


async def _ask(keeper: Keeper, question: Callable[[CaseStore], T]) -> T:
    return await asyncio.to_thread(lambda: question(keeper.store))


def decode(body: bytes, kind: type[T]) -> T:
    """Return a JSON body as a kind of value. Raises UsageError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the body does not fit: {error}") from error


def _zip(store: CaseStore, business: str | None, tenants: Collection[str]) -> FilePath:
    with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file:
        path = FilePath(file.name)
        try:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
                for name, content in store.examples(business=business, tenants=tenants):
                    archive.writestr(name, content)
        except BaseException:
            path.unlink()
            raise
    return path
