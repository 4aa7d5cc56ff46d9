"""Callers that go on whatever happens to a service, and the tally of what they were answered."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import cv2
import httpx
import numpy as np

from bench.ocr_load import percentile

TEXT = "BANK427965"
#: An accepted request without an answer for so long is lost.
PATIENCE_S = 120.0


def page() -> bytes:
    image = np.full((400, 420, 3), 255, np.uint8)
    cv2.putText(image, TEXT, (20, 220), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (0, 0, 0), 3, cv2.LINE_AA)
    return bytes(cv2.imencode(".png", image)[1].tobytes())


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
            if [[line["text"] for line in read["lines"]] for read in body["pages"]] != [[TEXT]]:
                self.counts["misread"] += 1
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
        job, deadline = "", time.monotonic() + PATIENCE_S
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


def report(tally: Tally, expected: dict[int, tuple[str, str]]) -> None:
    """Print what callers saw; `expected` are the versions of each snapshot. Raises SystemExit where a page came to harm."""
    mixed = sum(versions != {expected[number]} for number, versions in tally.seen.items()) + tally.counts["mixed"]
    twice = sum(len(jobs) > 1 for jobs in tally.jobs.values())
    p50, p95, worst = (percentile(tally.latencies, share) for share in (0.5, 0.95, 1.0))
    counts = tally.counts
    print(f"\n{counts['answered']} answered with snapshots {sorted(tally.seen)}; {counts['asked to wait']} times asked to wait")
    print(f"p50 {p50:.2f} s, p95 {p95:.2f} s, slowest {worst:.2f} s")
    print(f"{counts['failed']} failed, {mixed} mixed, {counts['lost']} lost, {twice} twice, {counts['misread']} misread")
    if counts["failed"] or mixed or counts["lost"] or twice or counts["misread"]:
        raise SystemExit(1)
