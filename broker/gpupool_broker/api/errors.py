"""How errors are answered: every one in one shape, {"error": {code, message, details}}."""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gpupool_broker.api import shapes
from gpupool_wire.errors import GpupoolError

#: What every route may answer beside its own, for the OpenAPI document.
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": shapes.ErrorAnswer} for status in (400, 401, 403, 404, 405, 409, 410, 413, 422, 429, 500, 503)
}


def answer_errors(app: FastAPI) -> None:
    """Have every error answered in the one shape."""

    def answer(status: int, code: str, message: str, details: dict[str, Any] | None = None) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        if details and "retry_after_s" in details:
            headers["Retry-After"] = str(details["retry_after_s"])
        body = {"error": {"code": code, "message": message, "details": details or {}}}
        return JSONResponse(body, status_code=status, headers=headers)

    @app.exception_handler(GpupoolError)
    def _ours(_request: Request, error: GpupoolError) -> JSONResponse:
        info = error.to_info()
        return answer(error.http_status, info.code, info.message, dict(info.details))

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return answer(422, "usage", f"{where}: {first['msg']}", {"where": where, "faults": len(error.errors())})

    @app.exception_handler(HTTPException)
    def _http(_request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        return answer(error.status_code, code, str(error.detail))

    @app.exception_handler(FutureTimeout)
    def _slow(_request: Request, _error: FutureTimeout) -> JSONResponse:
        return answer(503, "busy", "the broker did not answer in time: try again")

    @app.exception_handler(Exception)
    def _fault(_request: Request, _error: Exception) -> JSONResponse:
        # The server logs it, with where it happened.
        return answer(500, "fault", "the broker failed at this request: its log says why")
