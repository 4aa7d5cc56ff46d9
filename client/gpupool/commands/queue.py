"""`gpupool queue`, `gpupool explain`: what waits, and why something would."""

from __future__ import annotations

from typing import Annotated

import typer

from gpupool.commands.output import Column, Http, Json, field, moment, print_json, print_table
from gpupool.commands.slices import broker_rest

WAITING: tuple[Column, ...] = (
    ("position", field("position")),
    ("tenant", field("tenant")),
    ("compute %", field("compute_pct")),
    ("memory MiB", field("memory_mib")),
    ("kind", field("kind")),
    ("since (UTC)", moment("waits_since")),
    ("who", lambda row: row["label"] or row["holder"]),
    ("why", field("reason")),
)
VERDICTS: tuple[Column, ...] = (
    ("node", field("node")),
    ("device", field("device")),
    ("free %", field("compute_free_pct")),
    ("free MiB", field("memory_free_mib")),
    ("why not there", lambda row: row["blocked_by"] or "it fits"),
)


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    app.command("queue")(queue)
    app.command("explain")(explain)


def queue(as_json: Json = False, http: Http = None) -> None:
    """Show what waits for room, in order, and why."""
    found = broker_rest(http).get("/queue")
    if as_json:
        print_json(found)
    else:
        print_table(found, WAITING, "nothing waits")


def explain(
    compute: Annotated[str, typer.Option(help="Per cent of one device.")] = "25",
    memory: Annotated[str, typer.Option(help='Memory, such as "2GiB".')] = "2GiB",
    kind: Annotated[str | None, typer.Option(help='Only this kind of device: "cuda" or "cpu".')] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose request it would be, for admins.")] = None,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Say what would become of a request: where it would go, or what blocks it on each device and what would admit it."""
    body = {"compute": compute, "memory": memory, "kind": kind, "tenant": tenant}
    found = broker_rest(http).post("/explain", body)
    if as_json:
        print_json(found)
        return
    typer.echo(found["message"])
    for change in found["changes"]:
        typer.echo(f"  it would be admitted by {change}" if not change.startswith("quota: ") else f"  {change}")
    print_table(found["devices"], VERDICTS, "no node has joined yet: start one with `gpupool agent`")
