"""Several instances on one Redis, in processes of their own, one of which is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from gpupool_ocr.jobs.redis_link import connect
from gpupool_ocr.plans.reading import write_snapshot
from gpupool_ocr.plans.spec import Snapshot
from gpupool_ocr.rollouts.desired import Desired, applied
from gpupool_ocr.rollouts.redis_store import RedisSnapshots
from gpupool_ocr.rollouts.store import Entry

pytestmark = pytest.mark.system


def eventually(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def instances(redis_url: str, snapshot: Snapshot) -> Iterator[list[tuple[subprocess.Popen[str], str]]]:
    client = connect(redis_url)
    store = RedisSnapshots(client)
    store.set_desired(applied(Desired(), store.add(Entry(yaml=write_snapshot(snapshot), note="", by="test", at=0.0))))
    client.close()
    command = [sys.executable, "-m", "gpupool", "ocr", "serve", "--local", "--port", "0", "--redis", redis_url, "--pages", "1"]
    started: list[tuple[subprocess.Popen[str], str]] = []
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout is not None
            started.append((process, process.stdout.readline().split()[-1]))
        yield started
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def test_jobs_of_an_instance_that_is_killed_are_read_by_the_other(
    instances: list[tuple[subprocess.Popen[str], str]], page: bytes
) -> None:
    (first, one), (_, two) = instances

    def ready() -> bool:
        try:
            return all(httpx.get(f"{url}/readyz", trust_env=False).status_code == 200 for url in (one, two))
        except httpx.HTTPError:
            return False

    eventually(ready)
    eventually(lambda: len(httpx.get(f"{two}/v1/admin/status", trust_env=False).json()["instances"]) == 2)
    jobs = []
    for number in range(6):
        headers = {"Content-Type": "image/png", "Idempotency-Key": f"k{number}"}
        answer = httpx.post(f"{one}/v1/recognize?mode=async", content=page, headers=headers, trust_env=False)
        assert answer.status_code == 202
        jobs.append(answer.json()["job"])
    first.kill()
    answers: dict[str, httpx.Response] = {}

    def all_answered() -> bool:
        answers.update({job: httpx.get(f"{two}/v1/jobs/{job}", trust_env=False) for job in jobs})
        return all(answer.status_code == 200 for answer in answers.values())

    eventually(all_answered)
    assert {answer.json()["pages"][0]["lines"][0]["text"] for answer in answers.values()} == {"BANK427965"}
    headers = {"Content-Type": "image/png", "Idempotency-Key": "k0"}
    repeated = httpx.post(f"{two}/v1/recognize", content=page, headers=headers, trust_env=False, timeout=30)
    assert repeated.json()["job"] == jobs[0]
