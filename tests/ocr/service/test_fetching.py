"""Pages by address: allowed hosts only, never from inside, and nothing without an end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gpupool_ocr.service.fetching import Address, Fetcher, FetchFailed, FetchRefused, is_public
from gpupool_wire.errors import LimitExceeded

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
Answers = Callable[[str], bytes]


def resolving(table: dict[str, list[str]]) -> Any:
    async def resolve(host: str, port: int) -> list[Address]:
        return [ipaddress.ip_address(address) for address in table.get(host, [])]

    return resolve


@contextlib.asynccontextmanager
async def site(answers: Answers, *, endless: bool = False) -> AsyncIterator[tuple[int, list[str]]]:
    """Serve raw HTTP on loopback; yield the port, and the requests' heads."""
    heads: list[str] = []
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving[task] = writer
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        heads.append(head)
        with contextlib.suppress(ConnectionError):
            writer.write(answers(head.split(" ")[1]))
            while endless:
                writer.write(b"x" * 65536)
                await writer.drain()
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1], heads
        finally:
            for writer in serving.values():
                writer.transport.abort()
            await asyncio.gather(*serving, return_exceptions=True)


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Content-Length": str(len(body)), **headers}.items())
    return f"HTTP/1.1 {status}\r\n{lines}Connection: close\r\n\r\n".encode() + body


def fetcher(**changes: Any) -> Fetcher:
    table = {"pages.test": ["127.0.0.1"], "inner.test": ["10.0.0.7"], "both.test": ["93.184.215.14", "192.168.1.1"]}
    settings = {"hosts": ("pages.test", "*.test"), "networks": (LOOPBACK,), "resolves": resolving(table), **changes}
    return Fetcher(**settings)


def fetch(
    url: str, answers: Answers = lambda path: answer(b"page"), *, endless: bool = False, **changes: Any
) -> tuple[Any, list[str]]:
    async def run() -> tuple[Any, list[str]]:
        async with site(answers, endless=endless) as (port, heads):
            return await fetcher(**changes).fetch(url.replace("PORT", str(port))), heads

    return asyncio.run(run())


def test_a_page_is_fetched_from_the_address_that_was_checked() -> None:
    (name, content), heads = fetch("http://pages.test:PORT/scans/one.png?x=1")
    assert (name, content) == ("one.png", b"page")
    assert "Host: pages.test:" in heads[0]
    assert "Accept-Encoding: identity" in heads[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/a",
        "file:///etc/passwd",
        "http://user@pages.test/",
        "ftp://pages.test/",
        "http:///x",
        "http://pages.test:99999/",
        "http://pages.test.evil.example/",
        "http://[::1]/",
        "http://2130706433/",
        "http://pages.test/" + "x" * 3000,
    ],
)
def test_what_is_not_allowed_is_refused_before_anything_is_looked_up(url: str) -> None:
    with pytest.raises(FetchRefused):
        fetch(url, resolves=None)


@pytest.mark.parametrize("host", ["inner.test", "both.test"])
def test_one_inner_address_is_enough_to_refuse_a_host(host: str) -> None:
    with pytest.raises(FetchRefused, match="is not public"):
        fetch(f"http://{host}/a")


def test_a_redirect_inward_is_refused() -> None:
    with pytest.raises(FetchRefused, match=r"10\.0\.0\.7"):
        fetch("http://pages.test:PORT/", lambda path: answer(b"", "302 Found", Location="http://inner.test/secret"))
    with pytest.raises(FetchRefused, match="not fetched from"):
        fetch("http://pages.test:PORT/", lambda path: answer(b"", "302 Found", Location="http://169.254.169.254/"))


def test_a_name_that_points_elsewhere_a_moment_later_gains_nothing() -> None:
    """The second look-up of a rebinding name is never made: the connection goes to what was checked."""
    calls: list[str] = []

    async def resolve(host: str, port: int) -> list[Address]:
        calls.append(host)
        return [ipaddress.ip_address("127.0.0.1" if len(calls) == 1 else "10.0.0.7")]

    fetch("http://pages.test:PORT/a", resolves=resolve)
    assert calls == ["pages.test"]


def test_redirects_end() -> None:
    with pytest.raises(FetchRefused, match="redirects"):
        fetch("http://pages.test:PORT/", lambda path: answer(b"", "302 Found", Location="/again"))


def test_a_page_that_never_ends_is_cut_by_size_and_by_time() -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    with pytest.raises(LimitExceeded, match="longer than 1000000 bytes"):
        fetch("http://pages.test:PORT/", lambda path: head, endless=True, max_bytes=1_000_000)
    with pytest.raises(FetchFailed, match=r"within 0\.2 s"):
        fetch("http://pages.test:PORT/", lambda path: head, endless=True, max_bytes=1 << 40, total_s=0.2)


def test_an_answer_that_is_none_is_told() -> None:
    with pytest.raises(FetchFailed, match="answered 404"):
        fetch("http://pages.test:PORT/", lambda path: answer(b"", "404 Not Found"))
    with pytest.raises(FetchFailed, match="cannot be fetched"):
        fetch("http://pages.test:PORT/", lambda path: b"SSH-2.0-nothing\r\n\r\n")
    with pytest.raises(FetchFailed, match="has no address"):
        fetch("http://nowhere.test/")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("fd00::1", False),
        ("fe80::1", False),
        ("2606:2800:21f::1", True),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public
