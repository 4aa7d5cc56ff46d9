"""Callers that post pages to a recognition service, and the processes of a service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

#: Opening the pool and models, and reading golden samples, on a small machine.
READY_S = 90.0


@dataclass
class Service:
    """A service in a process (and its children) of its own."""

    name: str
    command: Sequence[str]
    port: int
    path: str
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, env={**os.environ, **self.environ}, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_S
        while True:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} did not start: {' '.join(self.command)}")
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def pid(self) -> int:
        """The process that was started."""
        assert self.process is not None
        return self.process.pid

    def metric(self, name: str) -> float:
        """One value of /metrics, without labels."""
        for line in httpx.get(f"{self.url}/metrics", timeout=10, trust_env=False).text.splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        raise LookupError(name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Answered:
    """One request, from its first byte to the last of its answer."""

    page: str
    status: int
    latency_s: float
    body: dict[str, Any]
    error: str = ""


def post(client: httpx.Client, url: str, page: Path, timeout_s: float = 300.0) -> Answered:
    start = time.perf_counter()
    try:
        answer = client.post(url, content=page.read_bytes(), headers={"Content-Type": "image/jpeg"}, timeout=timeout_s)
        return Answered(page.name, answer.status_code, time.perf_counter() - start, answer.json())
    except (httpx.HTTPError, ValueError) as error:
        return Answered(page.name, 0, time.perf_counter() - start, {}, f"{type(error).__name__}: {error}")


def load(
    url: str, pages: Sequence[Path], callers: int, requests: int, watch: Callable[[], None] = lambda: None
) -> tuple[list[Answered], float]:
    """Have so many callers post pages in turn until all requests are answered; return the answers, and the seconds it took."""
    numbers = iter(range(requests))
    lock = threading.Lock()
    answers: list[Answered] = []

    def call() -> None:
        with httpx.Client(trust_env=False) as client:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                answered = post(client, url, pages[number % len(pages)])
                with lock:
                    answers.append(answered)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch()
        time.sleep(0.2)
    return answers, time.perf_counter() - start


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
