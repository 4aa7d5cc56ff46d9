"""`gpupool ocr apply` and its fellows against a service, and what they say where there is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from gpupool_ocr.cli import register

DESIRED = {"revision": 2, "active": 1, "candidate": 2, "percent": 10, "shadow": False, "earlier": []}


class Service(BaseHTTPRequestHandler):
    """Answers as the service does, and keeps what it was asked."""

    asked: ClassVar[list[tuple[str, str, bytes]]] = []
    answers: ClassVar[dict[str, Any]] = {
        "diff": {"active": 1, "changes": [{"where": "models.r.version", "before": '"1"', "after": '"2"'}]},
        "snapshots": {"number": 2, "recall": {"*/text": 0.99}, "samples": 4, "desired": DESIRED},
        "promote": DESIRED | {"active": 2, "candidate": None},
        "rollback": DESIRED | {"candidate": None},
        "status": {
            "desired": DESIRED,
            "waiting": 3,
            "instances": [
                {
                    "instance": "i1",
                    "pid": 7,
                    "busy": 1,
                    "threads": 4,
                    "releases": [1],
                    "lacks": [2],
                    "problems": {"2": "no such file"},
                    "slices": {"slice readers 1: 50 % and 2GiB": "n1/gpu0, slice s7"},
                }
            ],
        },
    }

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = self.path.removeprefix("/v1/admin/").partition("?")[0]
        type(self).asked.append((self.command, self.path, body))
        found = self.answers.get(name)
        if name == "snapshots" and self.command == "GET":
            found = [{"number": 1, "at": 0.0, "by": "me", "note": "first"}]
        status = 200 if found is not None else 409
        content = json.dumps(
            found if found is not None else {"error": {"message": "there is nothing before snapshot 1"}}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer  # noqa: N815 - the standard library's names

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Service.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(*words: str, answer: str = "") -> Any:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["ocr", *words], input=answer)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "next.yaml"
    path.write_text("note: x\n")
    return str(path)


def test_apply_shows_the_difference_and_asks_first(url: str, file: str) -> None:
    refused = run("apply", file, "--url", url, answer="n\n")
    assert refused.exit_code == 1
    assert '~ models.r.version: "1" -> "2"' in refused.output
    assert [path for _, path, _ in Service.asked] == ["/v1/admin/diff"]
    done = run("apply", file, "--url", url, "--percent", "10", answer="y\n")
    assert done.exit_code == 0
    assert "snapshot 2: snapshot 1 is active, 2 gets 10 %; golden samples: */text 0.9900" in done.output
    assert Service.asked[-1][0] == "POST"
    assert "percent=10" in Service.asked[-1][1]
    assert Service.asked[-1][2] == b"note: x\n"


def test_a_dry_run_changes_nothing(url: str, file: str) -> None:
    done = run("apply", file, "--url", url, "--dry-run", "--json")
    assert json.loads(done.output)["active"] == 1
    assert [path for _, path, _ in Service.asked] == ["/v1/admin/diff"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["promote"], "snapshot 2 is active"),
        (["rollback"], "snapshot 1 is active"),
        (["history"], "first"),
        (["status"], "1 of 4 at work, releases 1, lacks 2"),
        (["status"], "snapshot 2 cannot be opened: no such file"),
        (["status"], "slice readers 1: 50 % and 2GiB is on n1/gpu0, slice s7"),
    ],
)
def test_commands_say_in_a_line_what_is(url: str, words: list[str], says: str) -> None:
    done = run(*words, "--url", url)
    assert done.exit_code == 0
    assert says in done.output
    assert json.loads(run(*words, "--url", url, "--json").output)


def test_the_services_own_words_are_the_error(url: str) -> None:
    done = run("show", "9", "--url", url)
    assert done.exit_code == 1
    assert "nothing before snapshot 1" in str(done.exception)


def test_where_no_service_answers_the_way_out_is_named() -> None:
    done = run("status", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "start one with `gpupool ocr serve`" in str(done.exception)


@pytest.mark.parametrize("command", ["serve", "worker", "apply", "promote", "rollback", "history", "show", "status"])
def test_every_command_has_help_and_is_documented(command: str) -> None:
    assert run(command, "--help").exit_code == 0
    assert f"gpupool ocr {command}" in (Path(__file__).parents[2] / "docs/ocr-service.md").read_text()


def test_a_service_and_a_worker_take_the_same_options_of_reading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from gpupool_ocr.service import serving

    begun: list[tuple[Any, Any]] = []
    monkeypatch.setattr(serving, "serve", lambda *said: begun.append(said))
    monkeypatch.setattr(serving, "work", lambda *said: begun.append(said))
    options = ["--pages", "7", "--redact", "A1", "--redact", "B2", "--fetch", "pages.example.org", "--log", str(tmp_path / "log")]
    assert run("serve", "--port", "0", "--compute", "30", *options).exit_code == 0
    assert run("worker", "--redis", "redis://jobs", "--compute", "30", *options).exit_code == 0
    (served, one), (worked, two) = begun
    assert (one, one.compute) == (two, "30")
    for settings in (served, worked):
        assert (settings.pages, settings.redact, settings.fetch_hosts) == (7, ("A1", "B2"), ("pages.example.org",))
        assert settings.log == tmp_path / "log"
    assert (served.port, worked.redis) == (0, "redis://jobs")
