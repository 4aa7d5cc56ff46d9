"""A pool with its pages, each part a real process, and a browser: shared by the tests of one module."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 20_000
#: Tests of pages: real processes, and a real browser.
BROWSER = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
    # Playwright's driver leaves an event loop to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@dataclass
class Pages:
    """A pool on this machine with its pages."""

    http: str
    sign_in: str
    admin: str
    start_broker: Callable[[], None] = lambda: None
    stop_broker: Callable[[], None] = lambda: None
    #: What the browser complained of, and where it went.
    complaints: list[str] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)

    def rest(self, method: str, path: str, body: object = None, token: str | None = None) -> Any:
        """Ask REST through the pages' port; return its JSON. Raises HTTPError."""
        request = urllib.request.Request(f"{self.http}/api/v1{path}", method=method)
        request.data = None if body is None else json.dumps(body).encode()
        request.add_header("Authorization", f"Bearer {token or self.admin}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def token(self, role: str, tenant: str = "") -> str:
        """Return a new token."""
        return str(self.rest("POST", "/tokens", {"role": role, "tenant": tenant})["token"])

    def slice(self, token: str | None = None, **changes: Any) -> str:
        """Return a new slice's id."""
        body = {"compute": 10, "memory": "256MiB", "kind": "null", **changes}
        return str(self.rest("POST", "/slices", body, token)["slice_id"])


def launch(command: list[str], ready: Path, log: Path) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Start a part of the pool; return it with its addresses once it serves."""
    ready.unlink(missing_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen([sys.executable, "-m", "gpupool", *command, "--ready-file", str(ready)], stderr=file)
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return process, json.loads(ready.read_text())


def free_ports(count: int) -> list[str]:
    """Return addresses nobody listens at."""
    import socket

    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """A broker that can be stopped and started, an agent with two null devices, and the pages."""
    home = tmp_path_factory.mktemp("pages")
    token_file, log = home / "admin.token", home / "log"
    (home / "log").touch()
    bind, http = free_ports(2)
    common = ["--home", str(home), "--admin-token-file", str(token_file)]
    running: dict[str, subprocess.Popen[bytes]] = {}

    def start_broker() -> None:
        running["broker"], _ = launch(["broker", "--bind", bind, "--http", http, *common], home / "broker.json", log)

    def stop(part: str) -> None:
        process = running.pop(part)
        process.terminate()
        assert process.wait(20) == 0, log.read_text()

    try:
        start_broker()
        running["web"], at = launch(["web", "--bind", "127.0.0.1:0", "--api", f"http://{http}", *common], home / "web.json", log)
        found = Pages(at["http"], at["sign_in"], token_file.read_text().strip(), start_broker, lambda: stop("broker"))
        options = ["--bind", "127.0.0.1:0", "--home", str(home), "--broker", f"tcp://{bind}", "--join-token", found.token("join")]
        null = ["--device", "null", "--null", "2", "--worker-ports", "0", "--metrics", "none"]
        running["agent"], _ = launch(["agent", *options, *null], home / "agent.json", log)
        yield found
    finally:
        for part in list(running)[::-1]:
            stop(part)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def visitor(pages: Pages, browser: Any) -> Callable[..., Any]:
    """Return a function that opens a browser's page, signed in with a token; `more` is how the browser is set up."""

    def visit(token: str, path: str = "/", **more: Any) -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **more)
        page = context.new_page()
        page.on("console", lambda message: pages.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: pages.complaints.append(str(error)))
        page.on("request", lambda request: pages.origins.add("/".join(request.url.split("/")[:3])))
        sign_in(pages, page, token)
        page.goto(pages.http + path)
        page.wait_for_selector("main h1", timeout=WAIT_MS)
        return page

    return visit


def sign_in(pages: Pages, page: Any, token: str) -> None:
    """Sign in with a token."""
    page.goto(f"{pages.http}/sign-in")
    page.click("summary", timeout=WAIT_MS)
    # By its name: the page may speak another language.
    page.locator('input[name="token"]').fill(token)
    page.keyboard.press("Enter")
    page.wait_for_selector("nav a[aria-current]", timeout=WAIT_MS)
