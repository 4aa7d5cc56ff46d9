from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from gpupool.rest import RestClient, segment
from gpupool_wire.errors import NotFound, PoolUnreachable, RemoteFault, SliceRefused


class _Answers(BaseHTTPRequestHandler):
    """Answers everything with what the test says, and remembers the question."""

    answer: tuple[int, bytes] = (200, b"{}")

    def _turn(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.asked = (self.command, self.path, self.headers["Authorization"], body)  # type: ignore[attr-defined]
        status, content = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = _turn  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    yield from _serving()


def _serving() -> Iterator[Any]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    server.answer = (200, b"[]")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def rest(server: Any) -> Any:
    return RestClient(f"127.0.0.1:{server.server_port}", "secret")


def test_it_asks_with_the_token_and_returns_json(rest: RestClient, server: Any) -> None:
    server.answer = (200, b'[{"a": 1}]')
    assert rest.get("/slices", state="all", tenant=None) == [{"a": 1}]
    assert server.asked == ("GET", "/api/v1/slices?state=all", "Bearer secret", b"")


def test_bodies_are_json(rest: RestClient, server: Any) -> None:
    rest.post("/tokens", {"role": "join"})
    assert server.asked[0] == "POST"
    assert json.loads(server.asked[3]) == {"role": "join"}
    rest.patch(f"/slices/{segment('a/b c')}", {"compute": 3})
    assert server.asked[:2] == ("PATCH", "/api/v1/slices/a%2Fb%20c")
    rest.delete("/tokens/1")
    assert server.asked[0] == "DELETE"


def test_an_error_of_the_one_shape_becomes_its_exception(rest: RestClient, server: Any) -> None:
    server.answer = (409, json.dumps({"error": {"code": "refused", "message": "no room", "details": {"free": 3}}}).encode())
    with pytest.raises(SliceRefused, match="no room") as caught:
        rest.post("/slices", {})
    assert caught.value.details == {"free": 3}
    server.answer = (404, b'{"error": {"code": "not_found", "message": "gone"}}')
    with pytest.raises(NotFound, match="gone"):
        rest.delete("/slices/x")


@pytest.mark.parametrize("answer", [(502, b"<html>"), (500, b""), (200, b"<html>")])
def test_anything_else_is_a_fault_that_names_the_address(rest: RestClient, server: Any, answer: Any) -> None:
    server.answer = answer
    with pytest.raises(RemoteFault, match=rf"127\.0\.0\.1:{server.server_port}"):
        rest.get("/nodes")


def test_nobody_there_names_the_way_out(server: Any) -> None:
    rest = RestClient("http://127.0.0.1:9", "t")
    with pytest.raises(PoolUnreachable, match="gpupool up"):
        rest.get("/nodes")


def test_a_proxy_is_not_asked_for_loopback(rest: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert RestClient(rest.address, "secret").get("/nodes") == []


STANDBY = (503, b'{"error": {"code": "standby", "message": "this broker stands by", "details": {}}}')


@pytest.fixture
def other() -> Iterator[Any]:
    yield from _serving()


def test_the_broker_that_serves_is_found_and_kept(server: Any, other: Any) -> None:
    server.answer, other.answer = STANDBY, (200, b'["here"]')
    rest = RestClient(f"127.0.0.1:{server.server_port}, http://127.0.0.1:{other.server_port}/", "secret")
    assert rest.post("/slices", {}) == ["here"]
    assert rest.address == f"http://127.0.0.1:{other.server_port}"
    server.asked = None
    assert rest.get("/slices") == ["here"]
    assert server.asked is None


def test_one_that_is_gone_is_passed_over(server: Any) -> None:
    rest = RestClient(f"http://127.0.0.1:9,127.0.0.1:{server.server_port}", "secret")
    assert rest.post("/slices", {}) == []


def test_what_may_have_been_done_is_not_asked_for_twice(server: Any, other: Any) -> None:
    server.answer = (200, b"half")
    server.RequestHandlerClass = type("Dropping", (_Answers,), {"do_POST": lambda self: self.connection.close()})
    rest = RestClient(f"127.0.0.1:{server.server_port},127.0.0.1:{other.server_port}", "secret")
    other.asked = None
    with pytest.raises(PoolUnreachable, match=f"{server.server_port}"):
        rest.post("/slices", {})
    assert other.asked is None


def test_where_nobody_serves_all_are_named(server: Any) -> None:
    rest = RestClient("http://127.0.0.1:9,http://127.0.0.1:19", "t")
    with pytest.raises(PoolUnreachable, match=r"at http://127\.0\.0\.1:9 .*; no broker answers at http://127\.0\.0\.1:19 "):
        rest.get("/nodes")
