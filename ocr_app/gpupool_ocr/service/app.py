"""The HTTP application of one instance."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from gpupool_ocr.service import admin, cases, corrections, recognizing, site
from gpupool_ocr.service.parts import Parts
from gpupool_ocr.service.recognizing import error_answer
from gpupool_wire.errors import Conflict, GpupoolError, NotAuthorized, NotFound, UsageError

_log = logging.getLogger(__name__)

#: Threads that wait for a board and for streams; the pages have their own.
WAITING_THREADS = 64


class MethodNotAllowed(UsageError):
    """The address does not know this method."""

    code = "method"
    http_status = 405


def make_app(parts: Parts) -> FastAPI:
    """Return the application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WAITING_THREADS, "ocr-wait"))
        yield

    app = FastAPI(title="gpupool OCR", version=version("gpupool"), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(recognizing.make_router(parts))
    app.include_router(cases.make_router(parts))
    app.include_router(corrections.make_router(parts))
    app.include_router(admin.make_router(parts))
    _add_health(app, parts)
    app.include_router(site.make_router())
    _add_errors(app)
    app.middleware("http")(_from_our_own_page)
    return app


async def _from_our_own_page(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse what a browser sends on behalf of another site: without keys, being on this machine is all it takes."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        return error_answer(NotAuthorized(f"pages of {origin[:100]} may not use this service"))
    return await call_next(request)


def _add_health(app: FastAPI, parts: Parts) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """Answers while the process lives."""
        return {"status": "alive", "instance": parts.instance}

    @app.get("/readyz", tags=["health"], responses={503: {"description": "Not ready"}})
    async def readyz() -> Response:
        """Answers 200 while documents can be read."""
        routing = parts.router.routing
        if routing is None:
            return Response('{"status":"starting"}', 503, media_type="application/json", headers={"Retry-After": "1"})
        return Response(f'{{"status":"ready","release":{routing.active.number}}}', media_type="application/json")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(parts.meters.registry), media_type=CONTENT_TYPE_LATEST)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(GpupoolError)
    async def known(_: Request, error: GpupoolError) -> Response:
        return error_answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return error_answer(UsageError(why))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        kinds = {404: NotFound, 405: MethodNotAllowed, 409: Conflict}
        return error_answer(
            kinds.get(error.status_code, UsageError)(f"{request.method} {request.url.path[:200]}: {error.detail}")
        )

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        _log.exception("%s %s failed", request.method, request.url.path)
        return error_answer(GpupoolError(f"the service failed: {type(error).__name__}"))
