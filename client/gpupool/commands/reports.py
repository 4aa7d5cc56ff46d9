"""`gpupool reports`: those that are made by themselves, those that were made, and closing a month."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from gpupool.commands.output import Column, Http, Json, field, moment, print_json, print_or_say, print_table
from gpupool.commands.report import PATIENCE_S
from gpupool.commands.slices import broker_rest

SCHEDULES: Final[tuple[Column, ...]] = (
    ("id", field("schedule_id")),
    ("every", field("every")),
    ("format", field("format")),
    ("by", field("by")),
    ("zone", field("zone")),
    ("tenant", lambda row: row["tenant"] or "all"),
    ("folder", field("folder")),
    ("mail to", lambda row: ", ".join(row["mail_to"])),
    ("since", field("since")),
)
MADE: Final[tuple[Column, ...]] = (
    ("id", field("report_id")),
    ("period", field("period")),
    ("file", field("file_name")),
    ("made (UTC)", moment("made_at")),
    ("state", field("state")),
    ("tries", field("tries")),
    ("trouble", field("trouble")),
)


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    reports = typer.Typer(
        help="Reports that are made by themselves, those that were made, closing a month.", no_args_is_help=True
    )
    for name, command in (
        ("list", list_made),
        ("get", get),
        ("schedules", schedules),
        ("schedule", schedule),
        ("unschedule", unschedule),
        ("freeze", freeze),
    ):
        reports.command(name)(command)
    app.add_typer(reports, name="reports")


def list_made(as_json: Json = False, http: Http = None) -> None:
    """Show the reports that schedules and closings made, and whether they were delivered."""
    found = broker_rest(http).get("/made-reports")
    if as_json:
        print_json(found)
    else:
        print_table(found, MADE, "no report was made by a schedule yet")


def get(
    report_id: Annotated[str, typer.Argument(help="Its id, as `gpupool reports list` shows it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write it here.")],
    http: Http = None,
) -> None:
    """Download a report as it was made."""
    from gpupool.rest import segment
    from gpupool_wire.errors import UsageError

    content = broker_rest(http).fetch(f"/made-reports/{segment(report_id)}")
    try:
        output.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    typer.echo(f"wrote {output} ({len(content):,} bytes)", err=True)


def schedules(as_json: Json = False, http: Http = None) -> None:
    """Show which reports are made by themselves."""
    found = broker_rest(http).get("/report-schedules")
    if as_json:
        print_json(found)
    else:
        print_table(found, SCHEDULES, "no report is scheduled")


def schedule(
    every: Annotated[str, typer.Argument(help="daily, weekly or monthly.")],
    form: Annotated[str, typer.Option("--format", help="json, csv, xlsx or pdf.")] = "pdf",
    by: Annotated[str, typer.Option(help="One line per tenant, project, model, node, day, week or month.")] = "tenant",
    zone: Annotated[str, typer.Option(help="Whose midnights days and months begin at.")] = "UTC",
    tenant: Annotated[str | None, typer.Option(help="Of one tenant.")] = None,
    folder: Annotated[str | None, typer.Option(help="Write it here, below the broker's folder of reports.")] = None,
    mail_to: Annotated[list[str] | None, typer.Option(help="Send it to this address; may be given several times.")] = None,
    since: Annotated[str | None, typer.Option(help="A day of the first period, such as 2026-10-01 [default: today].")] = None,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Have a report made, written and mailed whenever a day, week or month is over; missed ones are caught up."""
    body = {"every": every, "format": form, "by": by, "zone": zone, "tenant": tenant, "folder": folder}
    made = broker_rest(http).post("/report-schedules", {**body, "mail_to": mail_to or [], "since": since})
    print_or_say(made, as_json, f"{made['schedule_id']}: {made['every']} since {made['since']} ({made['zone']})")


def unschedule(
    schedule_id: Annotated[str, typer.Argument(help="Its id, as `gpupool reports schedules` shows it.")],
    as_json: Json = False,
    http: Http = None,
) -> None:
    """End a schedule; what it made stays."""
    from gpupool.rest import segment

    ended = broker_rest(http).delete(f"/report-schedules/{segment(schedule_id)}")
    print_or_say(ended, as_json, f"{schedule_id} has ended")


def freeze(
    month: Annotated[str, typer.Argument(help="A month that is over, such as 2026-10.")],
    zone: Annotated[str, typer.Option(help="Whose midnights it begins and ends at.")] = "UTC",
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Close a month: its figures stay as they are; prices entered later for it appear as adjustments."""
    from gpupool.rest import segment

    frozen = broker_rest(http).post(f"/reports/{segment(month)}/freeze", {"zone": zone}, patience_s=PATIENCE_S)
    print_or_say(frozen, as_json, f"{month} in {zone} is frozen, SHA-256 {frozen['sha256']}")
