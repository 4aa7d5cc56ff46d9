"""What stands before every page: origins, headers, cookies."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response
from starlette.websockets import WebSocket

from gpupool_web.guard import HEADERS, Guard

OURS, THEIRS = "https://pool.example.org", "https://evil.example.org"


def guarded(public_url: str = "") -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None)
    app.add_middleware(Guard, public_url=public_url)

    @app.post("/change")
    def change(response: Response) -> str:
        response.set_cookie("session", "s", httponly=True, samesite="lax")
        response.set_cookie("other", "o", secure=True)
        return "changed"

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    return app


def ask(app: Any, base: str = OURS, **headers: str) -> httpx.Response:
    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client:
            return await client.post("/change", headers=headers)

    return asyncio.run(go())


def test_every_answer_has_the_headers() -> None:
    answer = ask(guarded())
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_cookies_are_secure_behind_tls_and_only_there() -> None:
    secure, plain = ask(guarded()), ask(guarded(), "http://pool.example.org")
    assert all(cookie.lower().count("; secure") == 1 for cookie in secure.headers.get_list("set-cookie"))
    assert "httponly; path=/; samesite=lax; secure" in secure.headers.get_list("set-cookie")[0].lower()
    assert secure.headers["strict-transport-security"]
    assert "secure" not in plain.headers.get_list("set-cookie")[0].lower()
    assert "strict-transport-security" not in plain.headers


@pytest.mark.parametrize("origin", [THEIRS, "null", "https://pool.example.org.evil.org", "https://pool.example.org:8443", ""])
def test_what_another_site_sends_is_refused(origin: str) -> None:
    answer = ask(guarded(), Origin=origin)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_our_own_pages_and_programs_without_an_origin_pass() -> None:
    assert ask(guarded(), Origin=OURS).status_code == 200
    assert ask(guarded(), "http://127.0.0.1:7180", Origin=OURS).status_code == 403
    assert ask(guarded(OURS), "http://127.0.0.1:7180", Origin=OURS).status_code == 200


def handshake(origin: str) -> str:
    """Return what a socket is answered."""
    headers = [(b"host", b"pool.example.org"), (b"origin", origin.encode())]
    scope = {"type": "websocket", "path": "/socket", "scheme": "wss", "query_string": b"", "headers": headers, "subprotocols": []}
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(guarded()(scope, receive, send))
    return sent[0]


def test_a_socket_of_another_site_is_not_opened() -> None:
    assert handshake(OURS) == "websocket.accept"
    assert handshake(THEIRS) == "websocket.close"
