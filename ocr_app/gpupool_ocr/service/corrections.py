"""The route of corrections: what a sender says of an answer it got, by the answer's trace id.

kept already ──────────────────────────────────────────┐
read here a short while ago ──> kept now ──────────────┴──> labels with the correction
read elsewhere: its answer from the board, and the document sent again ──┘
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request

from gpupool_ocr.cases.case import Case
from gpupool_ocr.cases.correcting import Correction, corrected, draft_labels
from gpupool_ocr.cases.keeper import Keeper
from gpupool_ocr.cases.seen import Seen
from gpupool_ocr.service.cases import MAX_BODY_BYTES, decode
from gpupool_ocr.service.intake import FORM, Document, kind_of, receive, receive_body
from gpupool_ocr.service.parts import Parts
from gpupool_ocr.service.recognizing import caller_of
from gpupool_ocr.service.shapes import ANSWERS, CORRECTION, BadCase
from gpupool_ocr.service.tenants import Caller
from gpupool_ocr.service.waiting import find
from gpupool_wire.errors import Conflict, NotFound, UsageError


def make_router(parts: Parts) -> APIRouter:
    """Return the route of corrections."""
    router = APIRouter(prefix="/v1", tags=["cases"], responses=ANSWERS)

    @router.post("/corrections", responses={200: {"model": BadCase}}, openapi_extra=CORRECTION)
    async def correct(request: Request) -> Any:  # noqa: ANN401 - the model describes it
        """Say what single lines or fields of an answer say in truth, by the answer's trace id; the page is kept then.

        As a form, with the document as `file` beside `correction`, it may be said to any instance for as long as the job is kept.
        """
        caller = caller_of(parts, request)
        correction, document = await _receive(parts, request)
        seen = await _seen_again(parts, caller, correction, document) if document else None
        return (await asyncio.to_thread(_correct, parts.keeper, caller.tenant, correction, seen)).to_json()

    return router


async def _receive(parts: Parts, request: Request) -> tuple[Correction, Document | None]:
    if kind_of(request) != FORM:
        return decode(await receive_body(request, MAX_BODY_BYTES), Correction), None
    received = await receive(request, parts.fetcher)
    if len(received.documents) != 1 or "correction" not in received.options:
        raise UsageError("a form with a correction has one `file`, and the field `correction` with JSON")
    return decode(received.options["correction"].encode(), Correction), received.documents[0]


async def _seen_again(parts: Parts, caller: Caller, correction: Correction, document: Document) -> Seen | None:
    """Return a document that is sent again with the answer it got, None where it shall not be kept. Raises NotFound."""
    view = await find(parts.board, correction.job or "", caller)
    if view is None or view.outcome is None or view.job.trace != correction.trace:
        raise NotFound(f"there is no job {correction.job!r} of yours under this trace that is done; answers are kept for an hour")
    with parts.router.take(view.job.bid, view.job.tid, view.job.id) as plan:
        rule = parts.keeper.rule(plan.cases)
    answer = msgspec.json.decode(view.outcome.body) if view.outcome.status == 200 else {}
    return parts.reader.seen(view.job, document.content, rule, answer, view.outcome)


def _correct(keeper: Keeper, tenant: str, correction: Correction, seen: Seen | None) -> Case:
    """Return the case that a correction makes, or changes. Raises NotFound, Conflict, and what the store raises."""
    case = _kept(keeper, tenant, correction, seen)
    if case.status == "labelled":
        raise Conflict(f"case {case.id} is labelled already: change its labels at /v1/cases/{case.id}/labels")
    labels = corrected(case.labels or draft_labels(case.result), case.result, correction)
    return keeper.store.correct(case.id, labels, is_complete=correction.complete)


def _kept(keeper: Keeper, tenant: str, correction: Correction, again: Seen | None) -> Case:
    """Return the case of a page that was answered, which becomes one now where it was read well."""
    number, job = correction.page, correction.job
    found = keeper.store.list(tenants=[tenant], trace=correction.trace) if correction.trace else []
    there = [case for case in found if case.id.endswith(f"-{number}") and job in (None, case.job)]
    seen = [one for one in keeper.recent(tenant, correction.trace) if job in (None, one.job)] or ([again] if again else [])
    jobs = {case.job for case in there} | {one.job for one in seen}
    if len(jobs) > 1:
        raise Conflict(f"{len(jobs)} documents were sent under trace {correction.trace[:64]!r}: name the `job`")
    if there:
        return there[0]
    if not seen:
        raise NotFound(
            f"nothing is kept of trace {correction.trace[:64]!r}: where pages are kept they can be corrected for a quarter of an "
            "hour at the `instance` that read them, later with `job` and the document again"
        )
    return keeper.keep_corrected(seen[0], number)
