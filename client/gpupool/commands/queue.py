"""`gpupool queue`, `cancel`, `explain`: what waits, and why something does or would."""

from __future__ import annotations

from typing import Annotated

import typer

from gpupool.commands import wanting
from gpupool.commands.output import Column, Http, Json, Row, field, moment, print_json, print_table
from gpupool.commands.slices import broker_rest

WAITING: tuple[Column, ...] = (
    ("position", field("position")),
    ("request", field("request_id")),
    ("tenant", lambda row: f"{row['tenant']}/{row['project']}" if row["project"] else row["tenant"]),
    ("priority", field("priority")),
    ("gpus", field("gpus")),
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
#: Devices shown; `--json` has them all.
MAX_SHOWN = 40


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    app.command("queue")(queue)
    app.command("cancel")(cancel)
    app.command("explain")(explain)


def queue(
    limit: Annotated[int, typer.Option(help="Show so many at most.", min=1, max=100_000)] = 1000,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Show what waits for room, in the order in which it is served, and why."""
    found = broker_rest(http).get("/queue", limit=str(limit))
    if as_json:
        print_json(found)
    else:
        print_table(found, WAITING, "nothing waits")


def cancel(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST", help="Its id, as `gpupool queue` shows it.")],
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Take a waiting request out of the queue; its program is told."""
    from gpupool.rest import segment

    done = broker_rest(http).delete(f"/queue/{segment(request_id)}")
    if as_json:
        print_json(done)
    else:
        typer.echo(f"{request_id} waits no more")


def explain(
    request_id: Annotated[
        str | None, typer.Argument(metavar="[REQUEST]", help="A waiting request; without it, one that is not made yet.")
    ] = None,
    compute: wanting.Compute = None,
    memory: wanting.Memory = "2GiB",
    tflops: wanting.Tflops = 0,
    kind: wanting.Kind = None,
    gpus: wanting.Gpus = 1,
    arrange: wanting.Arrange = "pack",
    project: wanting.Project = "",
    priority: wanting.Priority = 50,
    model: wanting.Model = None,
    label: wanting.Label = None,
    near: wanting.Near = "",
    reservation: wanting.Reservation = "",
    tenant: Annotated[str | None, typer.Option(help="Whose request it would be, for admins.")] = None,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Say why a request waits, or what would become of one: what blocks it, who gives way for it, what would admit it."""
    from gpupool.rest import segment

    rest = broker_rest(http)
    if request_id is not None:
        found = rest.get(f"/queue/{segment(request_id)}/explain")
    else:
        body = wanting.body_of(
            compute,
            tflops=tflops,
            model=model,
            label=label,
            memory=memory,
            kind=kind,
            gpus=gpus,
            arrange=arrange,
            project=project,
            priority=priority,
            near=near,
            reservation=reservation,
        )
        found = rest.post("/explain", {**body, "tenant": tenant})
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: Row) -> None:
    typer.echo(found["message"])
    for line in found["gives_way"]:
        typer.echo(f"  for it, {line}")
    for change in found["changes"]:
        typer.echo(f"  it would be admitted by {change}" if not change.startswith("quota: ") else f"  {change}")
    devices = sorted(found["devices"], key=lambda row: -row["compute_free_pct"])
    print_table(devices[:MAX_SHOWN], VERDICTS, "no node has joined yet: start one with `gpupool agent`")
    if len(devices) > MAX_SHOWN:
        typer.echo(f"... and {len(devices) - MAX_SHOWN} more devices (--json has them all)")
