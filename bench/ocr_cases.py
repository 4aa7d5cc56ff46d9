"""What keeping bad pages costs the requests: the worst case, every page a bad one, against the same pages with `keep=false`.

    python -m bench.ocr_cases [--callers 4] [--requests 32] [--rounds 3] [--local]

One service whose plan doubts every line. Rounds alternate between both, each begun when nothing waits to be kept any more; the
figures are over all rounds of a kind. `cpu s` is the service's processor time a document, with what keeping it took, which other
programs on the machine hardly change. `kept later` is how long behind the last answer of a round its last page was kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import httpx
import msgspec
import psutil

from bench.ocr_load import Answered, Service, free_port, load, percentile
from gpupool_ocr import samples
from gpupool_ocr.plans.reading import default_snapshot, write_snapshot
from gpupool_ocr.plans.spec import CasesSpec
from gpupool_ocr.rollouts.desired import Desired, applied
from gpupool_ocr.rollouts.store import Entry, FolderStore

KINDS = {"not kept": "?keep=false", "kept": ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--requests", type=int, default=32, help="of a round")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind")
    parser.add_argument("--local", action="store_true", help="models in the service's process instead of the pool")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(arguments, Path(temporary))


def run(arguments: argparse.Namespace, folder: Path) -> None:
    base = default_snapshot()
    doubts = msgspec.structs.replace(base.plans["text"], cases=CasesSpec(below=1.0, share=0.0))
    store = FolderStore(folder / "ocr")
    yaml = write_snapshot(msgspec.structs.replace(base, plans={"text": doubts}))
    store.set_desired(applied(Desired(), store.add(Entry(yaml=yaml, note="", by="bench", at=time.time()))))
    command = [
        sys.executable,
        "-m",
        "gpupool",
        "ocr",
        "serve",
        "--port",
        str(port := free_port()),
        "--folder",
        str(folder / "ocr"),
    ]
    command += ["--cases", str(folder / "cases"), *(["--local"] if arguments.local else ["--memory", "1GiB"])]
    (folder / "home").mkdir(mode=0o700)
    service = Service("service", command, port, "/v1/recognize", {"GPUPOOL_HOME": str(folder / "home")})
    service.start()
    try:
        answers, seconds, cpu, later = measure(arguments, service)
        told = counts(service)
    finally:
        service.stop()
    rates = {kind: len(found) / seconds[kind] for kind, found in answers.items()}
    print(f"{'':<10}{'documents/s':>12}{'p50 ms':>9}{'p95 ms':>9}{'cpu s':>8}{'failed':>8}")
    for kind, found in answers.items():
        latencies = [1000 * one.latency_s for one in found]
        p50, p95 = percentile(latencies, 0.5), percentile(latencies, 0.95)
        failed = sum(one.status != 200 for one in found)
        print(f"{kind:<10}{rates[kind]:>12.2f}{p50:>9.0f}{p95:>9.0f}{cpu[kind] / len(found):>8.3f}{failed:>8}")
    print(f"throughput, kept : not kept = {rates['kept'] / rates['not kept']:.3f}")
    print(f"processor time, kept : not kept = {cpu['kept'] / cpu['not kept']:.3f}")
    print(f"cases {told}; kept later {max(later):.2f} s at most")


def measure(
    arguments: argparse.Namespace, service: Service
) -> tuple[dict[str, list[Answered]], dict[str, float], dict[str, float], list[float]]:
    """Return answers, seconds and processor time by kind, and how long behind each round the last page was kept."""
    assert service.process is not None
    process = psutil.Process(service.process.pid)
    answers: dict[str, list[Answered]] = {kind: [] for kind in KINDS}
    seconds, cpu, later = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0), []
    load(f"{service.url}{service.path}?keep=false", samples.paths(), arguments.callers, arguments.callers)
    for _ in range(arguments.rounds):
        for kind, query in KINDS.items():
            before, used = sum(counts(service).values()), process.cpu_times()
            found, took_s = load(f"{service.url}{service.path}{query}", samples.paths(), arguments.callers, arguments.requests)
            answers[kind] += found
            seconds[kind] += took_s
            behind = time.perf_counter()
            while kind == "kept" and sum(counts(service).values()) < before + len(found):
                time.sleep(0.05)
            later.append(time.perf_counter() - behind)
            now = process.cpu_times()
            cpu[kind] += now.user + now.system - used.user - used.system
    return answers, seconds, cpu, later


def counts(service: Service) -> dict[str, int]:
    """What became of bad pages so far."""
    told: dict[str, int] = {}
    for line in httpx.get(f"{service.url}/metrics", timeout=10, trust_env=False).text.splitlines():
        if line.startswith("gpupool_ocr_cases_total{"):
            result = line.split('result="')[1].split('"')[0]
            told[result] = told.get(result, 0) + int(float(line.rpartition(" ")[2]))
    return told


if __name__ == "__main__":
    main()
