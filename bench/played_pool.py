"""A pool to look at: a real broker and the real pages, nodes that are played (null devices), tenants with slices of many sizes.

with played_pool(nodes=1000, slices=10_000) as pool: pool.http, pool.token("tenant", "acme"), pool.rest(...)
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cluster import free_port

READY_S = 60.0
TENANTS = ("acme", "blue-river", "cobalt", "delta-labs", "east-bank", "fjord", "granite", "harbour")
#: Compute and memory of slices, and how often each is asked for.
SIZES = ((5, 2_048, 4), (10, 4_096, 6), (20, 8_192, 5), (25, 10_240, 3), (40, 16_384, 2), (60, 32_768, 1))
#: From so many slices on only small ones are asked for, so that they fit.
MANY = 1_000
LABELS = ("ocr", "invoices", "search", "nightly", "embedding", "<b>bold</b>")


@dataclass
class PlayedPool:
    """Where it is and how to ask it."""

    home: Path
    #: REST of the broker itself, the pages, and the one-time link that signs the admin in.
    api: str
    http: str
    sign_in: str
    admin: str

    def rest(self, method: str, path: str, body: object = None, token: str | None = None) -> Any:
        """Ask REST; return its JSON. Raises HTTPError."""
        request = urllib.request.Request(f"{self.api}/api/v1{path}", method=method)
        request.add_header("Authorization", f"Bearer {token or self.admin}")
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def token(self, role: str, tenant: str = "") -> str:
        """Return a new token."""
        return str(self.rest("POST", "/tokens", {"role": role, "tenant": tenant})["token"])

    def fill(self, slices: int, seed: int = 7) -> None:
        """Let the tenants ask for so many slices, small ones where there are many."""
        rng = random.Random(seed)
        tokens = {tenant: self.token("tenant", tenant) for tenant in TENANTS}
        weights = [1 / (rank + 1.5) for rank in range(len(TENANTS))]
        sizes = SIZES[:3] if slices > MANY else SIZES
        asks = []
        for _ in range(slices):
            compute, memory, _ = rng.choices(sizes, [size[2] for size in sizes])[0]
            body = {
                "compute": compute,
                "memory": memory,
                "kind": "null",
                "policy": rng.choice(("fixed", "burst")),
                "label": rng.choice(LABELS),
                "project": rng.choice(("", "prod", "dev")),
            }
            asks.append((body, tokens[rng.choices(TENANTS, weights)[0]]))
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda ask: self.rest("POST", "/slices", ask[0], ask[1]), asks))


@contextmanager
def played_pool(nodes: int, devices: int = 8, before: Callable[[Path], None] = lambda _home: None) -> Iterator[PlayedPool]:
    """Start broker, pages and played nodes; stop them at the end. `before` may leave the broker a journal in its home."""
    with tempfile.TemporaryDirectory(prefix="gpupool-played-") as folder, ExitStack() as started:
        home = Path(folder)
        before(home)
        file = home / "admin.token"
        bind, http, web = (f"127.0.0.1:{free_port()}" for _ in range(3))
        common = ["--home", str(home), "--admin-token-file", str(file)]
        _start(started, home, "broker", ["--bind", bind, "--http", http, *common])
        pages = _start(started, home, "web", ["--bind", web, "--api", f"http://{http}", *common])
        pool = PlayedPool(home, f"http://{http}", pages["http"], pages["sign_in"], file.read_text().strip())
        joins = [pool.token("join") for _ in range(nodes)]
        program = [sys.executable, "-m", "bench.programs.played_nodes", f"tcp://{bind}", str(nodes), str(devices)]
        player = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert player.stdin is not None
        assert player.stdout is not None
        started.callback(player.wait, 30)
        started.callback(player.stdout.close)
        started.callback(player.stdin.close)
        player.stdin.write("".join(f"{join}\n" for join in joins))
        player.stdin.flush()
        if player.stdout.readline().strip() != "joined":
            raise SystemExit("the played nodes did not join")
        yield pool


def _start(started: ExitStack, home: Path, what: str, options: list[str]) -> dict[str, str]:
    ready = home / f"{what}.json"
    with (home / f"{what}.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "gpupool", what, *options, "--ready-file", str(ready)], stderr=log)
    started.callback(process.wait, 30)
    started.callback(process.terminate)
    deadline = time.monotonic() + READY_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{what} did not start: {(home / f'{what}.log').read_text()[-2000:]}")
        time.sleep(0.02)
    found: dict[str, str] = json.loads(ready.read_text())
    return found
