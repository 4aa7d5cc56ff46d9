"""The routes callers use: recognize, batch, jobs, stream."""

from __future__ import annotations

import asyncio
import math
import re
import time
import uuid
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from gpupool_ocr.jobs.job import Job, Outcome
from gpupool_ocr.service.intake import Document, receive
from gpupool_ocr.service.parts import Parts
from gpupool_ocr.service.shapes import ANSWERS, BODY, Batch, Error, Recognized, Submitted
from gpupool_ocr.service.streaming import stream_lines
from gpupool_ocr.service.tenants import Caller
from gpupool_ocr.service.waiting import Wish, find, make_job, outcome_of, submit
from gpupool_wire.errors import GpupoolError, NotFound, UsageError

JSON = "application/json"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
Mode = Literal["sync", "async", "stream"]
Bid = Annotated[str | None, Query(description="Which business asks.", max_length=64)]
Tid = Annotated[str | None, Query(description="Which kind of algorithm.", max_length=64)]
Keep = Annotated[Literal["true", "false"] | None, Query(description="false: its pages are not kept to learn from.")]
Idempotency = Annotated[
    str | None, Header(description="A second request of this key gets the first one's answer.", max_length=128)
]


class StillWorking(GpupoolError):
    """The answer did not come in time; ask for the job later."""

    code = "still_working"
    http_status = 504


def make_router(parts: Parts) -> APIRouter:
    """Return the routes of a service."""
    router = APIRouter(prefix="/v1", tags=["recognition"])
    desk = _Desk(parts)

    @router.post("/recognize", responses={200: {"model": Recognized}, 202: {"model": Submitted}, **ANSWERS}, openapi_extra=BODY)
    async def recognize(
        request: Request,
        bid: Bid = None,
        tid: Tid = None,
        mode: Annotated[Mode | None, Query(description="sync, async (a job), or stream (lines as NDJSON).")] = None,
        callback: Annotated[str | None, Query(description="An address that gets the answer, too.", max_length=2048)] = None,
        name: Annotated[str | None, Query(description="What a raw body is called.", max_length=200)] = None,
        keep: Keep = None,
        idempotency_key: Idempotency = None,
    ) -> Response:
        """Read one document: a file of a form, the raw body, or `{"url": ...}` as JSON."""
        asked = {"bid": bid, "tid": tid, "mode": mode, "callback": callback, "keep": keep}
        return await desk.recognize(request, asked, idempotency_key)

    @router.post("/batch", responses={200: {"model": Batch}, 202: {"model": Batch}, **ANSWERS}, openapi_extra=BODY)
    async def batch(
        request: Request,
        bid: Bid = None,
        tid: Tid = None,
        mode: Annotated[Literal["sync", "async"] | None, Query(description="sync, or async (jobs).")] = None,
        keep: Keep = None,
        idempotency_key: Idempotency = None,
    ) -> Response:
        """Read the files of one form, each a document with an answer of its own."""
        return await desk.batch(request, {"bid": bid, "tid": tid, "mode": mode, "keep": keep}, idempotency_key)

    @router.get(
        "/jobs/{job_id}",
        responses={200: {"model": Recognized}, 202: {"model": Submitted}, 404: {"model": Error}, 401: {"model": Error}},
    )
    async def job(request: Request, job_id: Annotated[str, Path(max_length=64)]) -> Response:
        """Return the answer to a job (200, or the status its error has), or say that it is not there yet (202)."""
        view = await find(parts.board, job_id, caller_of(parts, request))
        if view is None:
            raise NotFound(f"there is no job {job_id!r} of yours; answers are kept for an hour")
        return _answer(view.outcome) if view.outcome else _submitted(view.job, view.state)

    return router


class _Desk:
    """Takes requests to the board and answers back."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def recognize(self, request: Request, asked: dict[str, str | None], key: str | None) -> Response:
        caller, trace = caller_of(self._parts, request), trace_of(request)
        received = await receive(request, self._parts.fetcher)
        if len(received.documents) != 1:
            raise UsageError(f"the form has {len(received.documents)} files; send one here, or several to /v1/batch")
        asked = {**received.options, **{name: value for name, value in asked.items() if value is not None}}
        wish, mode = self._wish(caller, asked, key), asked.get("mode") or "sync"
        (document,) = received.documents
        if mode == "stream":
            self._begin(caller)
            self._end(caller)
            lines = stream_lines(self._parts, caller, make_job(caller, document, wish, trace), document.content)
            return StreamingResponse(lines, media_type="application/x-ndjson", headers={"X-Trace-Id": trace})
        return await self._read(caller, document, wish, trace, is_async=mode == "async")

    async def batch(self, request: Request, asked: dict[str, str | None], key: str | None) -> Response:
        caller, trace = caller_of(self._parts, request), trace_of(request)
        received = await receive(request, self._parts.fetcher)
        asked = {**received.options, **{name: value for name, value in asked.items() if value is not None}}
        is_async = asked.get("mode") == "async"

        async def one(number: int, document: Document) -> dict[str, Any]:
            try:
                wish = self._wish(caller, asked, f"{key}.{number}" if key else None)
                answer = await self._read(caller, document, wish, trace, is_async=is_async)
            except GpupoolError as error:
                answer = error_answer(error)
            return {"name": document.name, "status": answer.status_code, "answer": msgspec.Raw(bytes(answer.body))}

        results = await asyncio.gather(*(one(number, document) for number, document in enumerate(received.documents)))
        body = msgspec.json.encode({"trace": trace, "results": results})
        return Response(body, 202 if is_async else 200, media_type=JSON, headers={"X-Trace-Id": trace})

    def _wish(self, caller: Caller, asked: dict[str, Any], key: str | None) -> Wish:
        bid, tid, mode = asked.get("bid") or "default", asked.get("tid") or "text", asked.get("mode") or "sync"
        for name, value in (("bid", bid), ("tid", tid)):
            if not _KEY.fullmatch(value):
                raise UsageError(f"{name} {value[:64]!r} is no name: letters, digits, _ . - and 64 characters at most")
        if mode not in ("sync", "async", "stream"):
            raise UsageError(f"mode {mode[:20]!r} is none of sync, async, stream")
        keep = asked.get("keep") or "true"
        if keep not in ("true", "false"):
            raise UsageError(f"keep {keep[:20]!r} is neither true nor false")
        caller.check_bid(bid)
        self._parts.router.check(bid, tid)  # refused now, not when a worker comes to it
        if asked.get("callback"):
            self._parts.fetcher.check(asked["callback"])
        return Wish(bid=bid, tid=tid, callback=asked.get("callback"), idempotency_key=key, keep=keep == "true")

    def _begin(self, caller: Caller) -> None:
        self._parts.tenants.begin(caller, time.monotonic())

    def _end(self, caller: Caller) -> None:
        self._parts.tenants.end(caller)

    async def _read(self, caller: Caller, document: Document, wish: Wish, trace: str, *, is_async: bool) -> Response:
        start = time.perf_counter()
        self._begin(caller)
        try:
            job = make_job(caller, document, wish, trace)
            job_id = await submit(self._parts.board, job, document.content, self._parts.wait_s)
            if is_async:
                return _submitted(msgspec.structs.replace(job, id=job_id), "waiting")
            outcome = await outcome_of(self._parts.board, job_id, job, document.content, self._parts.wait_s)
            if outcome is None:
                raise StillWorking(f"the answer did not come within {self._parts.wait_s:g} s: GET /v1/jobs/{job_id}", job=job_id)
            self._parts.meters.seconds.labels(wish.tid).observe(time.perf_counter() - start)
            self._parts.meters.requests.labels(wish.tid, str(outcome.status)).inc()
            return _answer(outcome, trace)
        except GpupoolError as error:
            self._parts.meters.requests.labels(wish.tid, str(error.http_status)).inc()
            raise
        finally:
            self._end(caller)


def caller_of(parts: Parts, request: Request) -> Caller:
    """Return who asks. Raises Unauthorized."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return parts.tenants.caller(key.strip() if scheme.lower() == "bearer" else None)


def trace_of(request: Request) -> str:
    """Return the trace id of a request: the caller's (W3C Trace Context), or a new one."""
    found = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return found.group(1) if found else uuid.uuid4().hex


def error_answer(error: GpupoolError) -> Response:
    """Return an error as every route tells it."""
    body = Error.of(error)
    headers = {}
    if error.http_status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(float(error.details.get("retry_after_s") or 1))))
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(body.model_dump_json(), error.http_status, media_type=JSON, headers=headers)


def _answer(outcome: Outcome, trace: str | None = None) -> Response:
    headers = {"X-Trace-Id": trace} if trace else {}
    if outcome.status in (429, 503):
        headers["Retry-After"] = "1"
    return Response(outcome.body, outcome.status, media_type=JSON, headers=headers)


def _submitted(job: Job, state: str) -> Response:
    body = Submitted(job=job.id, state=state, trace=job.trace, href=f"/v1/jobs/{job.id}")
    return Response(body.model_dump_json(), 202, media_type=JSON, headers={"Location": body.href, "Retry-After": "1"})
