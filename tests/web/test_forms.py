"""Forms as browsers post them."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI, Request

from gpupool_web.forms import MAX_BYTES, field, fields_of, form
from gpupool_wire.errors import GpupoolError, LimitExceeded, UsageError


def read(body: bytes) -> dict[str, str] | GpupoolError:
    app, found = FastAPI(), []

    @app.post("/")
    async def take(request: Request) -> None:
        try:
            found.append(await fields_of(request))
        except GpupoolError as error:
            found.append(error)

    async def go() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://web") as client:
            await client.post("/", content=body)

    asyncio.run(go())
    return found[0]


def test_fields_come_as_they_were_typed() -> None:
    assert read(b"name=%D0%B0%D0%B4%D0%B0&password=a+b%26c&token=") == {"name": "ада", "password": "a b&c", "token": ""}


@pytest.mark.parametrize("body", [b"name=%FF%FE", b"name=\xff", b"&".join(b"a%d=1" % n for n in range(50))])
def test_what_is_no_form_is_refused(body: bytes) -> None:
    assert isinstance(read(body), UsageError)


def test_an_enormous_form_is_refused() -> None:
    assert isinstance(read(b"name=" + b"x" * MAX_BYTES), LimitExceeded)


def test_a_title_is_text() -> None:
    assert "<b>" not in form("/x", field("<b>", "name"), submit="<b>")
