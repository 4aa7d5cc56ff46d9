"""Redis is gone for ten seconds while pages keep coming: whoever waits gets an answer, others are told when to come back."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from gpupool_ocr.jobs.redis_link import connect
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.plans.reading import write_snapshot
from gpupool_ocr.plans.spec import Snapshot
from gpupool_ocr.rollouts.desired import Desired, applied
from gpupool_ocr.rollouts.redis_store import RedisSnapshots
from gpupool_ocr.rollouts.store import Entry
from gpupool_ocr.service.instance import open_instance
from gpupool_ocr.service.settings import Settings
from tests.ocr.conftest import Server
from tests.ocr.service.conftest import TEXT, serving

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

AWAY_S = 10.0


def eventually(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    """A Redis that keeps what it has acknowledged."""
    server = Server(tmp_path)
    server.start("--appendonly", "yes")
    yield server
    server.stop()


@pytest.fixture
def addresses(redis: Server, snapshot: Snapshot, page: bytes, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Two instances: callers of one are patient, those of the other wait two seconds."""
    client = connect(redis.url)
    store = RedisSnapshots(client)
    store.set_desired(applied(Desired(), store.add(Entry(yaml=write_snapshot(snapshot), note="", by="test", at=0.0))))
    client.close()
    one, two = (Settings(redis=redis.url, folder=tmp_path, pages=1, wait_s=wait_s) for wait_s in (60.0, 2.0))
    with (
        open_instance(one, LocalFactory()) as patient,
        open_instance(two, LocalFactory()) as hurried,
        serving(patient) as first,
        serving(hurried) as second,
    ):
        for address in (first, second):  # FastAPI makes its validators with the first call, and is not made for two threads then
            httpx.post(f"{address}/v1/recognize?mode=async", content=page, trust_env=False, timeout=60)
            for path in ("v1/jobs/none", "v1/admin/status", "v1/admin/snapshots"):
                httpx.get(f"{address}/{path}", trust_env=False, timeout=60)
        yield {"patient": first, "hurried": second}


@dataclass
class Caller(threading.Thread):
    """Posts pages one after the other, each with a key of its own, again where it is told to come back."""

    address: str
    page: bytes
    stop: threading.Event
    is_async: bool = False
    #: Of each key the statuses it got, and in the end its job and text.
    statuses: dict[str, list[int]] = field(default_factory=dict)
    jobs: dict[str, set[str]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        with httpx.Client(base_url=self.address, timeout=90, trust_env=False) as client:
            while not self.stop.is_set():
                self.post(client, uuid.uuid4().hex)

    def post(self, client: httpx.Client, key: str) -> None:
        job, deadline = "", time.monotonic() + 90
        while time.monotonic() < deadline:
            answer = client.get(f"/v1/jobs/{job}") if job else self.submit(client, key)
            self.statuses.setdefault(key, []).append(answer.status_code)
            body = answer.json()
            if answer.status_code == 200:
                self.jobs.setdefault(key, set()).add(body["job"])
                self.texts[key] = body["pages"][0]["lines"][0]["text"]
                return
            if answer.status_code in (202, 504):  # it goes on: asked for by its job
                job = body["job"] if body.get("job") else body["error"]["details"]["job"]
            elif answer.status_code not in (429, 503) or "Retry-After" not in answer.headers:
                self.faults.append(f"{answer.status_code} {answer.text}")
                return
            time.sleep(0.1)  # sooner than it is told, to ask more often while Redis is away

    def submit(self, client: httpx.Client, key: str) -> httpx.Response:
        headers = {"Idempotency-Key": key, "Content-Type": "image/png"}
        return client.post("/v1/recognize", params={"mode": "async"} if self.is_async else {}, content=self.page, headers=headers)


def test_no_page_is_lost_while_redis_is_gone_for_ten_seconds(addresses: dict[str, str], redis: Server, page: bytes) -> None:
    stop = threading.Event()
    callers = [Caller(addresses[whom], page, stop, is_async) for whom in addresses for is_async in (False, True)]
    for caller in callers:
        caller.start()
    try:
        eventually(lambda: all(len(caller.texts) >= 2 for caller in callers))
        redis.stop()
        back = time.monotonic() + AWAY_S
        while time.monotonic() < back:
            for address in addresses.values():
                assert httpx.get(f"{address}/healthz", trust_env=False).status_code == 200
                assert httpx.get(f"{address}/readyz", trust_env=False).status_code == 200
            time.sleep(0.1)
        stream = httpx.post(f"{addresses['hurried']}/v1/recognize?mode=stream", content=page, timeout=60, trust_env=False)
        assert '"event":"end"' in stream.text.splitlines()[-1]  # streams need no board
        there = [len(caller.texts) for caller in callers]
        redis.start("--appendonly", "yes")
        eventually(lambda: all(len(caller.texts) >= before + 2 for caller, before in zip(callers, there, strict=True)))
    finally:
        stop.set()
        for caller in callers:
            caller.join(100)
    assert [fault for caller in callers for fault in caller.faults] == []
    for caller in callers:
        assert caller.texts.keys() == caller.statuses.keys()  # every page got its answer
        assert set(caller.texts.values()) == {TEXT}
        assert all(len(jobs) == 1 for jobs in caller.jobs.values())
    patient, _, hurried, _ = callers
    assert {status for got in patient.statuses.values() for status in got} == {200}
    assert 503 in {status for got in hurried.statuses.values() for status in got}
    eventually(lambda: len(httpx.get(f"{addresses['patient']}/v1/admin/status", trust_env=False).json()["instances"]) == 2)


def test_a_redis_that_comes_back_empty_is_told_again_what_shall_be_read_with(
    addresses: dict[str, str], redis: Server, page: bytes
) -> None:
    admin = f"{addresses['patient']}/v1/admin"
    before = httpx.get(f"{admin}/status", trust_env=False).json()["desired"]
    redis.stop()
    redis.start("--appendonly", "no", "--save", "")

    def is_back() -> bool:
        status = httpx.get(f"{admin}/status", trust_env=False)
        return status.status_code == 200 and status.json()["desired"] == before

    eventually(is_back)
    assert [entry["number"] for entry in httpx.get(f"{admin}/snapshots", trust_env=False).json()] == [1]
    answer = httpx.post(f"{addresses['patient']}/v1/recognize", content=page, timeout=90, trust_env=False)
    assert (answer.status_code, answer.json()["release"]) == (200, 1)
