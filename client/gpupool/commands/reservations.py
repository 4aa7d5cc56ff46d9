"""`gpupool reservations`, `gpupool defrag`: room kept for a window of time, and idle slices moved together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from gpupool.commands.output import Column, Http, Json, field, moment, print_json, print_table
from gpupool.commands.slices import broker_rest

COLUMNS: tuple[Column, ...] = (
    ("reservation", field("reservation_id")),
    ("tenant", lambda row: f"{row['tenant']}/{row['project']}" if row["project"] else row["tenant"]),
    ("gpus", field("gpus")),
    ("compute %", field("compute_pct")),
    ("memory MiB", field("memory_mib")),
    ("from (UTC)", moment("start")),
    ("to (UTC)", moment("end")),
    ("kept", field("kept")),
    ("used", field("used")),
    ("lacks", field("lacking")),
)
MOVES: tuple[Column, ...] = (
    ("slice", field("slice_id")),
    ("tenant", field("tenant")),
    ("compute %", field("compute_pct")),
    ("from", lambda row: f"{row['from_node']}/{row['from_device']}"),
    ("to", lambda row: f"{row['to_node']}/{row['to_device']}"),
)


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    group = typer.Typer(help="Room kept for a tenant in a window of time.", no_args_is_help=True)
    group.command("list")(list_reservations)
    group.command("add")(add)
    group.command("cancel")(cancel)
    app.add_typer(group, name="reservations")
    app.command("defrag")(defrag)


def list_reservations(as_json: Json = False, http: Http = None) -> None:
    """Show the reservations that are not over."""
    found = broker_rest(http).get("/reservations")
    if as_json:
        print_json(found)
    else:
        print_table(found, COLUMNS, "nothing is reserved")


def add(
    tenant: Annotated[str, typer.Argument(help="For whom.")],
    hours: Annotated[float, typer.Option(help="How long.", min=0.001)],
    start: Annotated[
        str | None, typer.Option(help="From when on, such as 2026-12-01T22:00+01:00; UTC where no zone is said. [default: now]")
    ] = None,
    project: Annotated[str, typer.Option(help="Only for this project of it.")] = "",
    gpus: Annotated[int, typer.Option(help="On so many devices.", min=1)] = 1,
    compute: Annotated[str, typer.Option(help="Per cent of each.")] = "100",
    memory: Annotated[str, typer.Option(help='Memory of each, such as "2GiB".')] = "2GiB",
    kind: Annotated[str | None, typer.Option(help="Only this kind of device.")] = None,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Keep room for a tenant in a window of time; what it does not use then, nobody else gets."""
    begins = datetime.now(UTC) if start is None else _moment(start)
    body = {
        "tenant": tenant,
        "project": project,
        "gpus": gpus,
        "compute": compute,
        "memory": memory,
        "kind": kind,
        "start": None if start is None else begins.isoformat(),
        "end": (begins + timedelta(hours=hours)).isoformat(),
    }
    made = broker_rest(http).post("/reservations", body)
    if as_json:
        print_json(made)
    else:
        print_table([made], COLUMNS, "")


def cancel(
    reservation_id: Annotated[str, typer.Argument(metavar="RESERVATION", help="Its id.")],
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Cancel a reservation: what nobody uses of it is free."""
    from gpupool.rest import segment

    done = broker_rest(http).delete(f"/reservations/{segment(reservation_id)}")
    if as_json:
        print_json(done)
    else:
        typer.echo(f"{reservation_id} is cancelled")


def defrag(
    apply: Annotated[bool, typer.Option("--apply", help="Move them; without it only say what that would gain.")] = False,
    at_most: Annotated[int, typer.Option(help="Per cent of all slices that may move.", min=1, max=5)] = 5,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Move idle slices together, so that larger requests fit."""
    found = broker_rest(http).post("/defrag", {"apply": apply, "at_most_pct": at_most})
    if as_json:
        print_json(found)
        return
    print_table(found["moves"], MOVES, "no idle slice is worth moving")
    will = "are moved" if apply else "would be moved (--apply does it)"
    stranded = f"stranded {found['stranded_before_pct']:g} -> {found['stranded_after_pct']:g} % of a device"
    typer.echo(
        f"{len(found['moves'])} slices {will}: {stranded}, {found['empty_before']} -> {found['empty_after']} empty devices"
    )


def _moment(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"--start {text!r} is no time: write it as 2026-12-01T22:00+01:00") from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)
