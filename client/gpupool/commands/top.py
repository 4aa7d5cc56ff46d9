"""`gpupool top`: who uses the devices right now, against what they were promised."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpupool.commands.output import PIPE_COLUMNS, Column, Http, Json, Row, field, make_table, print_json
from gpupool.commands.slices import DEVICE_COLUMNS, broker_rest
from gpupool_wire.units import MIB

if TYPE_CHECKING:
    from rich.console import Group

    from gpupool.rest import RestClient

SLICES: tuple[Column, ...] = (
    ("slice", field("slice_id")),
    ("tenant", field("tenant")),
    ("device", lambda row: f"{row['node']}/{row['device']}"),
    ("policy", field("policy")),
    ("granted %", field("compute_pct")),
    ("had in 10 s %", lambda row: f"{row['achieved_10s_pct']:.1f}"),
    ("since start %", lambda row: f"{row['achieved_pct']:.1f}"),
    ("throttled in 10 s ms", field("throttled_10s_ms")),
    ("throttled ms", lambda row: f"{row['throttled_ms']:.0f}"),
    ("used MiB", lambda row: f"{row['memory_used_bytes'] / MIB:.0f}"),
    ("of MiB", field("memory_mib")),
    ("calls", field("calls")),
    ("holder", lambda row: row["label"] or row["holder"]),
)


def register(app: typer.Typer) -> None:
    """Add the command to the root application."""
    app.command()(top)


def top(
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once; that is also what a pipe gets.")] = False,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Show who uses the devices now, busiest first: share granted, share had, time throttled, memory. Ctrl-C ends it."""
    rest = broker_rest(http)
    if as_json:
        devices, slices = look(rest)
        print_json({"devices": devices, "slices": slices})
    elif once or not sys.stdout.isatty():
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(_picture(*look(rest)))
    else:
        _watch(rest, interval)


def look(rest: RestClient) -> tuple[list[Row], list[Row]]:
    """Return devices and live slices, the busiest first."""
    devices, slices = rest.get("/devices"), rest.get("/slices")
    return (
        sorted(devices, key=lambda row: (-row["busy_pct"], row["node"], row["device"])),
        sorted(slices, key=lambda row: (-row["achieved_10s_pct"], row["slice_id"])),
    )


def _watch(rest: RestClient, interval: float) -> None:
    from rich.live import Live

    try:
        with Live(_picture(*look(rest)), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(_picture(*look(rest)), refresh=True)
    except KeyboardInterrupt:
        return


def _picture(devices: Sequence[Row], slices: Sequence[Row]) -> Group:
    from rich.console import Group

    return Group(
        make_table(devices, DEVICE_COLUMNS) if devices else "no node has joined yet: start one with `gpupool agent`",
        make_table(slices, SLICES) if slices else "no slice is held",
    )
