"""Pages per second and bytes per page: RapidOCR local, under `gpupool run`, with its recognition output lazy; the pool's reader.

    python -m bench.ocr [--pages N] [--rounds N] [--documents]

Every contender reads the same pages in its own process on the same cores; opening models is not counted. The contenders take
turns, and a ratio is taken within its round. Bytes are what the client's sockets carried for those pages, both ways, without
models (which the agent keeps after the first run).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gpupool
from bench.paired import run_paired

DATA = Path("../shared/data/ocr")
PROGRAMS = Path(__file__).parent / "programs"
RAPIDOCR = [sys.executable, str(PROGRAMS / "rapidocr_pages.py")]
RUN = [sys.executable, "-m", "gpupool", "run", "--compute", "100", "--memory", "2GiB"]
COMMANDS = {
    "RapidOCR, local": RAPIDOCR,
    "RapidOCR, gpupool run": [*RUN, "--", *RAPIDOCR],
    "RapidOCR, lazy output": [*RUN, "--lazy", "*_rec_*:*", "--", *RAPIDOCR],
    "gpupool ocr": [sys.executable, str(PROGRAMS / "ocr_pages.py")],
}


class Contender:
    """Runs one command over the pages and keeps what it read and moved."""

    def __init__(self, name: str, pages: list[str]) -> None:
        self.command = [*COMMANDS[name], *pages]
        self.pages = len(pages)
        self.read: list[dict[str, Any]] = []
        self.moved_bytes = self.raw_bytes = 0
        self.environ: dict[str, str] = {}

    def pages_per_second(self) -> float:
        """Run it once."""
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "traffic.jsonl"
            environ = {**os.environ, **self.environ, "GPUPOOL_TRAFFIC": str(report)}
            done = subprocess.run(self.command, env=environ, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{self.command[:4]} failed:\n{done.stderr[-2000:]}")
            rows = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
        self.moved_bytes = sum(row["sent_bytes"] + row["received_bytes"] for row in rows)
        self.raw_bytes = self.moved_bytes + sum(row["saved_bytes"] for row in rows)
        self.read = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return self.pages / sum(page["seconds"] for page in self.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", action="store_true", help="read the eight documents too")
    arguments = parser.parse_args()
    pages = [str(page) for page in sorted((DATA / "receipts/img").glob("*.jpg"))[: arguments.pages]]
    if arguments.documents:
        pages += [str(page) for page in sorted((DATA / "documents").glob("*.jpg"))]
    contenders = {name: Contender(name, pages) for name in COMMANDS}
    with gpupool.embedded_pool():
        for contender in contenders.values():
            contender.pages_per_second()  # fills the agent's model cache and the page cache
        paired = run_paired({name: contender.pages_per_second for name, contender in contenders.items()}, arguments.rounds)
    print(f"{len(pages)} pages, {arguments.rounds} rounds, {os.cpu_count()} cores\n")
    print(paired.table("pages/s"))
    print()
    for name, contender in contenders.items():
        # The first page is read twice, see the programs.
        print(f"{name:28} {contender.moved_bytes / (contender.pages + 1) / 1e6:10.2f} MB per page")
    for name in ("RapidOCR, gpupool run", "RapidOCR, lazy output"):
        compare(name, contenders["RapidOCR, local"].read, contenders[name].read)


def compare(name: str, local: list[dict[str, Any]], remote: list[dict[str, Any]]) -> None:
    """Say whether a contender read what RapidOCR reads locally."""
    same = [one["texts"] == other["texts"] for one, other in zip(local, remote, strict=True)]
    pairs = [pair for one, other in zip(local, remote, strict=True) for pair in zip(one["scores"], other["scores"], strict=True)]
    apart = max((abs(one - other) for one, other in pairs), default=0.0)
    print(f"\n{name} against local:")
    print(f"texts identical on {sum(same)} of {len(same)} pages, scores at most {apart:g} apart")


if __name__ == "__main__":
    main()
