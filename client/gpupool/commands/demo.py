"""`gpupool demo`: start the pool, read sample pages through it, show what the pool did, stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import typer

from gpupool.commands.output import Json, print_json


def register(app: typer.Typer) -> None:
    """Add the command to the root application."""
    app.command()(demo)


def demo(as_json: Json = False) -> None:
    """Read sample pages through a slice of the pool on this machine, and show their texts and what the pool did.

    Starts the pool if none runs, and stops what it started.
    """
    import gpupool
    from gpupool.rest import RestClient
    from gpupool.settings import client_token, rest_address

    pages = sample_pages()
    _tell(as_json, "Starting a pool on this machine (or using the one that runs) ...")
    with gpupool.embedded_pool(web=True):
        rest = RestClient(rest_address(), client_token())
        _tell(as_json, f"  web page and REST: {rest_address()}")
        devices = rest.get("/devices")
        _tell(as_json, *(f"  {device['node']}/{device['device']}: {device['kind']}, {device['model']}" for device in devices))
        _tell(as_json, "", f"Reading {len(pages)} pages on a slice: gpupool ocr --json {pages[0].parent}")
        before = {held["slice_id"] for held in rest.get("/slices", state="all")}
        read, moved, took_s = _read(pages)
        _wait_ended(rest, before)
        served = [held for held in rest.get("/slices", state="all") if held["slice_id"] not in before]
    if as_json:
        print_json({"devices": devices, "pages": read, "slices": served, "traffic": moved, "seconds": round(took_s, 3)})
    else:
        _show(read, served, moved, took_s)


def sample_pages() -> list[Path]:
    """Return the sample pages of the OCR room. Raises UsageError where it is not installed."""
    from importlib.util import find_spec

    from gpupool_wire.errors import UsageError

    room = find_spec("gpupool_ocr")  # finds it without importing it
    folders = list(room.submodule_search_locations or []) if room else []
    pages = sorted(page for folder in folders for page in (Path(folder) / "sample_pages").glob("*.png"))
    if not pages:
        raise UsageError("the demo reads the sample pages of the OCR room, which is not installed: install gpupool[all]")
    return pages


def _read(pages: list[Path]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """Have `gpupool ocr` read the pages; return its pages, what its slices moved, and how many seconds it took."""
    from gpupool_wire.errors import RemoteFault

    with tempfile.TemporaryDirectory(prefix="gpupool-demo-") as folder:
        report = Path(folder) / "traffic.jsonl"
        start = time.monotonic()
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "gpupool", "ocr", "--json", *map(str, pages)],
            env={**os.environ, "GPUPOOL_TRAFFIC": str(report)},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        took_s = time.monotonic() - start
        moved = [json.loads(line) for line in report.read_text("utf-8").splitlines()] if report.exists() else []
    if done.returncode:
        raise RemoteFault(f"gpupool ocr ended with status {done.returncode}: what it says is above")
    return [json.loads(line) for line in done.stdout.splitlines()], moved, took_s


def _wait_ended(rest: Any, before: set[str]) -> None:  # noqa: ANN401 - RestClient, which is imported late
    """Wait for the last totals: what a worker used reaches the broker with its agent's next beat."""
    deadline = time.monotonic() + 3.0
    totals = None
    while time.monotonic() < deadline:
        fresh = [held for held in rest.get("/slices", state="all") if held["slice_id"] not in before]
        now = [(held["calls"], held["device_ms"]) for held in fresh]
        if now == totals and all(calls for calls, _ in now):
            return
        totals = now
        time.sleep(0.6)


def _show(read: list[dict[str, Any]], served: list[dict[str, Any]], moved: list[dict[str, Any]], took_s: float) -> None:
    lines = 0
    for page in read:
        typer.echo(f"\n── {Path(page['path']).name} ──")
        for line in page["lines"]:
            typer.echo(f"  {line['text']}")
            lines += 1
    typer.echo(f"\n{len(read)} pages, {lines} lines in {took_s:.1f} s, starting the program and opening the models included.")
    typer.echo("\nWhat the pool did:")
    for held in served:
        typer.echo(
            f"  slice {held['slice_id']} of {held['kind']} device {held['node']}/{held['device']}: {held['compute_pct']} %, "
            f"{held['memory_mib']} MiB, {held['policy']}\n"
            f"    {held['calls']} calls, {held['device_ms']:.0f} ms of device time, {held['throttled_ms']:.0f} ms throttled, "
            f"{held['state']} ({held['reason'] or 'no reason given'})"
        )
    for traffic in moved:
        typer.echo(
            f"    {traffic['questions']} questions, {traffic['sent_bytes'] / 1e6:.2f} MB sent (models included), "
            f"{traffic['received_bytes'] / 1e6:.2f} MB received"
        )


def _tell(as_json: bool, *lines: str) -> None:
    if not as_json:
        for line in lines:
            typer.echo(line)
