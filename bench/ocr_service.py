"""The recognition service against a plain FastAPI + RapidOCR service, on the same cores, in the same run.

    python -m bench.ocr_service [--callers 1 8 32] [--requests N] [--rounds N] [--length CLASS] [--by-characters PAGES]

Closed loop: each caller posts the next page when it has its answer. Contenders take turns within a round. `--one-at-a-time` adds
our own service reading one document after the other: what overlapping pages on the device gains.

service, worker, all MiB   highest resident memory of the service's process, of the pool's worker, and of all processes together
slice                      the most that the slice's ledger was seen to hold, in MiB
calls, device              share of the time with a call at the pool, and in which the worker executed one
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.ocr_held import Holdings, Peak
from bench.ocr_lengths import CLASSES, DATA, pages_by_class
from bench.ocr_load import Answered, Service, free_port, load, percentile, post

PLAIN = Path(__file__).parent / "programs/plain_service.py"


def plain(engines: int) -> Service:
    port = free_port()
    return Service(f"plain, {engines} engine(s)", [sys.executable, str(PLAIN), str(port), str(engines)], port, "/recognize")


def ours(folder: Path, name: str = "gpupool ocr serve", *options: str) -> Service:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gpupool",
        "ocr",
        "serve",
        "--port",
        str(port),
        "--folder",
        str(folder / name),
        "--wait",
        "300",
    ]
    home = folder / f"home-{len(options)}"
    home.mkdir(mode=0o700)
    environ = {"GPUPOOL_HOME": str(home)}
    return Service(name, [*command, *options], port, "/v1/recognize", environ)


def holdings(service: Service) -> Holdings:
    """Return what watches a service; ours has a slice of the pool in its own home, unless it runs the models itself."""
    uses_pool = "GPUPOOL_HOME" in service.environ and "--local" not in service.command
    return Holdings(service.pid, Path(service.environ["GPUPOOL_HOME"]) if uses_pool else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one contender did in one round."""

    rate: float
    latencies_s: list[float]
    peak: Peak
    #: Shares of the time; NaN where there is no pool.
    calls: float
    device: float
    failed: int

    HEADINGS = (
        f"{'':24} {'pages/s':>8} {'ratio':>6} {'p50 s':>7} {'p95 s':>7} {'p99 s':>7} {'service':>8} {'worker':>7} {'all MiB':>8}"
        f" {'slice':>6} {'calls':>6} {'device':>6} {'failed':>6}"
    )

    def text(self, name: str, reference: Row) -> str:
        p50, p95, p99 = (percentile(self.latencies_s, share) for share in (0.5, 0.95, 0.99))
        times = f"{self.rate:8.3f} {self.rate / reference.rate:6.2f} {p50:7.2f} {p95:7.2f} {p99:7.2f}"
        peak = self.peak
        memory = f"{peak.service_mib:8.0f} {peak.worker_mib:7.0f} {peak.all_mib:8.0f} {peak.slice_mib:6.0f}"
        return f"{name:24} {times} {memory} {self.calls:6.2f} {self.device:6.2f} {self.failed:6}"


def compare(services: list[Service], pages: list[Path], callers: int, requests: int, rounds: int) -> None:
    """Print a row per contender and round."""
    print(f"{callers} callers, {requests} requests, {rounds} round(s)\n{Row.HEADINGS}")
    for number in range(rounds):
        # Nobody always runs after the same neighbour.
        order = services if number % 2 == 0 else services[::-1]
        rows = {service.name: run(service, pages, callers, requests) for service in order}
        for service in services:
            print(rows[service.name].text(service.name, rows[services[0].name]), flush=True)
    print()


def run(service: Service, pages: list[Path], callers: int, requests: int) -> Row:
    held, is_ours = holdings(service), service.path.startswith("/v1")
    held.reset()
    calls_s = service.metric("gpupool_ocr_device_busy_seconds_total") if is_ours else math.nan
    device_s = held.device_s() if held.home else math.nan
    answers, took_s = load(service.url + service.path, pages, callers, requests, held.look)
    good = [answered for answered in answers if answered.status == 200]
    return Row(
        rate=len(good) / took_s,
        latencies_s=[answered.latency_s for answered in good],
        peak=held.peak(),
        calls=(service.metric("gpupool_ocr_device_busy_seconds_total") - calls_s) / took_s if is_ours else math.nan,
        device=(held.device_s() - device_s) / took_s,
        failed=requests - len(good),
    )


def by_characters(services: list[Service], folder: Path, count: int) -> None:
    """Print the latency of one caller by the number of characters; contenders take turns on every page."""
    print(f"{'one caller':12} {'pages':>5} {'read':>6}" + "".join(f"{service.name + ': p50, p95 s':>34}" for service in services))
    with httpx.Client(trust_env=False) as client:
        for name, pages in pages_by_class(folder, count).items():
            # Twice, so that neither's first look at a size of picture decides.
            taken: dict[str, list[Answered]] = {service.name: [] for service in services}
            for number, page in enumerate(pages * 2):
                for service in services if number % 2 == 0 else services[::-1]:
                    taken[service.name].append(post(client, service.url + service.path, page))
            read = statistics.median(map(characters, taken[services[-1].name]))
            row = f"{name:12} {len(pages):5} {read:6.0f}"
            for service in services:
                latencies = [answered.latency_s for answered in taken[service.name] if answered.status == 200]
                row += f"{statistics.median(latencies):26.3f} {percentile(latencies, 0.95):7.3f}"
            print(row, flush=True)
    print()


def characters(answered: Answered) -> int:
    """Characters of either service's answer."""
    pages = answered.body.get("pages", [answered.body])
    return sum(len(line["text"]) for page in pages for line in page.get("lines", []))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=0, help="a round and contender; 0 for three a caller")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--by-characters", type=int, default=0, metavar="PAGES", help="so many pages of each class of length")
    parser.add_argument("--length", choices=CLASSES, help="pages of so many characters in place of receipts")
    parser.add_argument("--one-at-a-time", action="store_true")
    parser.add_argument("--local", action="store_true", help="our models in the service's process instead of the pool")
    parser.add_argument("--engines", type=int, nargs="*", default=[1])
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no service is left behind
    with tempfile.TemporaryDirectory() as temporary:
        folder, local = Path(temporary), ["--local"] if arguments.local else []
        pages = sorted((DATA / "receipts/img").glob("*.jpg"))
        if arguments.length:
            pages = pages_by_class(folder, len(pages))[arguments.length]
        services = [plain(engines) for engines in arguments.engines] + [ours(folder, "gpupool ocr serve", *local)]
        if arguments.one_at_a_time:
            services.append(ours(folder, "ours, one at a time", "--pages", "1", *local))
        try:
            for service in services:
                service.start()
                with httpx.Client(trust_env=False) as client:
                    for page in pages[:2]:
                        post(client, service.url + service.path, page)
            what = f"pages of {arguments.length} characters" if arguments.length else "receipts"
            print(f"{os.cpu_count()} cores; {what}; callers in a closed loop\n")
            if arguments.by_characters:
                by_characters(services, folder, arguments.by_characters)
            for callers in arguments.callers:
                compare(services, pages, callers, arguments.requests or 3 * callers, arguments.rounds)
        finally:
            for service in services:
                service.stop()


if __name__ == "__main__":
    main()
