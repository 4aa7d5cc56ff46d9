"""REST through the web's port: what a script asks there is passed to the broker as it is.

script ──/api/…──> web ──> broker ──> web ──> script        status, headers and body unchanged, nothing kept
"""

from __future__ import annotations

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

#: A slice may be waited for a day over REST.
TIMEOUT = httpx.Timeout(10.0, read=86_500.0)
#: Larger than any request REST takes.
MAX_BODY_BYTES = 4 * 1024 * 1024
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
PATHS = ("/api/{rest:path}", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json")
#: These belong to one connection, not to what it carries (RFC 9110, section 7.6.1).
#: Cookies are the pages' business: REST takes none, and shall not see any. Whom we speak for, we say ourselves.
_OURS = frozenset({"cookie", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"})
_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length"})


def add_proxy(app: FastAPI, api: str, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Pass PATHS through to the broker at `api`; the caller closes the client that is returned."""
    client = httpx.AsyncClient(base_url=api, timeout=TIMEOUT, transport=transport, trust_env=False)

    async def forward(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                return _error(413, "limit", f"the body is over {MAX_BODY_BYTES} bytes")
        headers = [(name, value) for name, value in request.headers.items() if name not in _HOP | _OURS]
        if request.client:
            headers.append(("x-forwarded-for", request.client.host))
        query = request.url.query.encode() or None
        url = httpx.URL(path=request.url.path, query=query)
        try:
            answer = await client.request(request.method, url, headers=headers, content=body)
        except httpx.HTTPError as error:
            return _error(502, "unreachable", f"the broker does not answer at {api}: {error or type(error).__name__}")
        kept = {name: value for name, value in answer.headers.items() if name not in _HOP | {"content-encoding"}}
        return Response(answer.content, answer.status_code, kept)

    for path in PATHS:
        app.add_api_route(path, forward, methods=METHODS, include_in_schema=False)
    return client


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, "details": {}}}, status_code=status)
