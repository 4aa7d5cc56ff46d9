"""REST through the web's port: unchanged there and back, one error shape when the broker is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gpupool_web.proxy import MAX_BODY_BYTES, add_proxy


def echo(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/api/v1/away":
        raise httpx.ConnectError("refused")
    seen = {
        "method": request.method,
        "url": str(request.url),
        "auth": request.headers.get("authorization"),
        "body": request.content.decode(),
    }
    return httpx.Response(418, json=seen, headers={"x-broker": "yes"})


Ask = Callable[..., httpx.Response]


@pytest.fixture
def web() -> Ask:
    """Return a function that asks the web process over an in-process transport."""
    app = FastAPI(openapi_url=None, docs_url=None)
    add_proxy(app, "http://broker:1", httpx.MockTransport(echo))

    def ask(method: str, path: str, **more: Any) -> httpx.Response:
        async def go() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://web") as client:
                return await client.request(method, path, **more)

        return asyncio.run(go())

    return ask


def test_a_request_passes_unchanged_both_ways(web: Ask) -> None:
    answer = web("PATCH", "/api/v1/slices/s%2F1?a=1&b=%20", headers={"Authorization": "Bearer t"}, content=b'{"compute": 5}')
    assert (answer.status_code, answer.headers["x-broker"]) == (418, "yes")
    assert answer.json()["method"] == "PATCH"
    assert answer.json()["auth"] == "Bearer t"
    assert answer.json()["body"] == '{"compute": 5}'
    assert answer.json()["url"].endswith("?a=1&b=%20")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json"])
def test_health_and_metrics_pass_too(web: Ask, path: str) -> None:
    assert web("GET", path).json()["url"] == f"http://broker:1{path}"


def test_a_broker_that_is_away_is_said_in_the_one_error_shape(web: Ask) -> None:
    answer = web("GET", "/api/v1/away")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "unreachable"


def test_an_enormous_body_is_refused_here(web: Ask) -> None:
    assert web("POST", "/api/v1/slices", content=bytes(MAX_BODY_BYTES + 1)).status_code == 413
