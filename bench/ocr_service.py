"""The recognition service against a plain FastAPI + RapidOCR service, on the same cores, in the same run.

    python -m bench.ocr_service [--callers 1 8 32] [--requests N] [--rounds N] [--by-characters] [--one-at-a-time] [--engines N]

Closed loop: each caller posts the next page when it has its answer. Contenders take turns within a round. Memory is what belongs
to the service's processes alone (pool, worker and plug-ins counted). `--one-at-a-time` adds our own service reading one document
after the other: what overlapping pages on the device gains.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
from pathlib import Path

import cv2
import httpx

from bench.ocr_load import Answered, Service, free_port, load, percentile, post

DATA = Path("../shared/data/ocr")
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


def characters(answered: Answered) -> int:
    """Characters of either service's answer."""
    pages = answered.body.get("pages", [answered.body])
    return sum(len(line["text"]) for page in pages for line in page["lines"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=0, help="a round and contender; 0 for three a caller")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--by-characters", action="store_true")
    parser.add_argument("--one-at-a-time", action="store_true")
    parser.add_argument("--local", action="store_true", help="our models in the service's process instead of the pool")
    parser.add_argument("--engines", type=int, nargs="*", default=[1])
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no service is left behind
    pages = sorted((DATA / "receipts/img").glob("*.jpg"))
    with tempfile.TemporaryDirectory() as temporary:
        folder, local = Path(temporary), ["--local"] if arguments.local else []
        services = [plain(engines) for engines in arguments.engines] + [ours(folder, "gpupool ocr serve", *local)]
        if arguments.one_at_a_time:
            services.append(ours(folder, "ours, one at a time", "--pages", "1", *local))
        try:
            for service in services:
                service.start()
                with httpx.Client(trust_env=False) as client:
                    for page in pages[:2]:
                        post(client, service.url + service.path, page)
            print(f"{os.cpu_count()} cores; pages are receipts; callers in a closed loop\n")
            if arguments.by_characters:
                by_characters(services, pages, folder)
            for callers in arguments.callers:
                compare(services, pages, callers, arguments.requests or 3 * callers, arguments.rounds)
        finally:
            for service in services:
                service.stop()


def compare(services: list[Service], pages: list[Path], callers: int, requests: int, rounds: int) -> None:
    """Print a row per contender: throughput, latency, memory, and the share of time with a call on the device."""
    rates: dict[str, list[float]] = {service.name: [] for service in services}
    print(f"{callers} callers, {requests} requests, {rounds} round(s)")
    print(f"{'':24} {'pages/s':>8} {'ratio':>6} {'p50 s':>7} {'p95 s':>7} {'p99 s':>7} {'peak MiB':>9} {'busy':>5} {'failed':>6}")
    for _ in range(rounds):
        for service in services:
            peak = 0.0
            is_ours = service.path.startswith("/v1")

            def watch(service: Service = service) -> None:
                nonlocal peak
                peak = max(peak, service.rss_mib())

            before = service.metric("gpupool_ocr_device_busy_seconds_total") if is_ours else 0.0
            answers, took_s = load(service.url + service.path, pages, callers, requests, watch)
            busy = (service.metric("gpupool_ocr_device_busy_seconds_total") - before) / took_s if is_ours else float("nan")
            good = [answered for answered in answers if answered.status == 200]
            rates[service.name].append(len(good) / took_s)
            ratio = rates[service.name][-1] / rates[services[0].name][-1]
            latencies = [answered.latency_s for answered in good]
            p50, p95, p99 = (percentile(latencies, share) for share in (0.5, 0.95, 0.99))
            row = f"{len(good) / took_s:8.3f} {ratio:6.2f} {p50:7.2f} {p95:7.2f} {p99:7.2f} {peak:9.0f}"
            row += f" {busy:5.2f} {requests - len(good):6}"
            print(f"{service.name:24} {row}", flush=True)
    print()


def by_characters(services: list[Service], pages: list[Path], folder: Path) -> None:
    """Print the median latency of one caller for pages cut to fewer and fewer lines."""
    cuts = {"1/16 of a receipt": 16, "1/4": 4, "whole": 1}
    print(f"{'one caller':24} " + " ".join(f"{service.name + ' (characters)':>34}" for service in services) + f" {'ratio':>6}")
    for name, share in [*cuts.items(), ("documents", 0)]:
        chosen = (
            sorted((DATA / "documents").glob("*.jpg"))[:3] if share == 0 else [cut(page, share, folder) for page in pages[:4]]
        )
        cells, medians = [], []
        for service in services:
            with httpx.Client(trust_env=False) as client:
                answers = [post(client, service.url + service.path, page) for page in chosen]
            medians.append(statistics.median(answered.latency_s for answered in answers))
            cells.append(f"{medians[-1]:.3f} s ({statistics.median(map(characters, answers)):.0f})")
        print(f"{name:24} " + " ".join(f"{cell:>34}" for cell in cells) + f" {medians[-1] / medians[0]:6.2f}", flush=True)
    print()


def cut(page: Path, share: int, folder: Path) -> Path:
    """Write the upper part of a page."""
    if share == 1:
        return page
    image = cv2.imread(str(page))
    path = folder / f"{page.stem}-{share}.jpg"
    cv2.imwrite(str(path), image[: max(32, image.shape[0] // share)])
    return path


if __name__ == "__main__":
    main()
