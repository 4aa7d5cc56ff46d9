"""Signing in, in a real browser on a real broker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
    # Playwright's driver leaves an event loop to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
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


@dataclass
class Site:
    """A pool on this machine with its web page."""

    http: str
    sign_in: str
    token: str
    logs: list[str] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)

    def rest(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(self.http + path, method=method, data=json.dumps(body).encode() if body else None)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())


def start(command: list[str], ready: Path, log: Path) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    with log.open("ab") as file:
        process = subprocess.Popen([sys.executable, "-m", "gpupool", *command, "--ready-file", str(ready)], stderr=file)
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return process, json.loads(ready.read_text())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A broker, an agent with null devices, and the web page, each a real process."""
    home = tmp_path_factory.mktemp("site")
    token_file, log = home / "admin.token", home / "log"
    bind = ["--bind", "127.0.0.1:0", "--home", str(home)]
    started = []
    try:
        options = [*bind, "--http", "127.0.0.1:0", "--admin-token-file", str(token_file)]
        broker, at = start(["broker", *options], home / "broker.json", log)
        started.append(broker)
        site = Site(at["http"], "", token_file.read_text().strip())
        join = site.rest("POST", "/api/v1/tokens", {"role": "join"})["token"]
        options = [*bind, "--broker", at["url"], "--join-token", join, "--device", "null", "--null", "2"]
        agent, _ = start(["agent", *options, "--worker-ports", "0", "--metrics", "none"], home / "agent.json", log)
        started.append(agent)
        options = [*bind, "--api", at["http"], "--admin-token-file", str(token_file)]
        web, page = start(["web", *options], home / "web.json", log)
        started.append(web)
        site.http, site.sign_in = page["http"], page["sign_in"]
        yield site
    finally:
        for process in reversed(started):
            process.terminate()
            assert process.wait(20) == 0, log.read_text()


@pytest.fixture(scope="module")
def page(site: Site) -> Iterator[Any]:
    """A browser's page, signed in with the one-time link."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("console", lambda message: site.logs.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: site.logs.append(str(error)))
        page.on("request", lambda request: site.origins.add("/".join(request.url.split("/")[:3])))
        page.goto(site.sign_in)
        page.wait_for_selector("text=Compute allocated", timeout=WAIT_MS)
        yield page
        browser.close()


def test_nothing_comes_from_elsewhere_and_nothing_fails(site: Site, page: Any) -> None:
    page.goto(site.http)
    page.wait_for_selector("text=Compute allocated", timeout=WAIT_MS)
    assert site.origins <= {site.http, site.http.replace("http", "ws")}
    assert site.logs == []
