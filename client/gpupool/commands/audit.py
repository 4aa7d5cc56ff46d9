"""`gpupool audit`: who did what."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from gpupool.commands.output import Column, Http, Json, Row, field, moment, print_json, print_table
from gpupool.commands.slices import broker_rest


def _changed(row: Row) -> str:
    """Return what differs between before and after, as far as both say it."""
    before, after = row["before"], row["after"]
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return ""
    names = [name for name in before if name in after and before[name] != after[name]]
    return ", ".join(f"{name}: {json.dumps(before[name])} → {json.dumps(after[name])}" for name in names)


COLUMNS: Final[tuple[Column, ...]] = (
    ("at (UTC)", moment("at")),
    ("who", field("who")),
    ("role", field("role")),
    ("from", field("address")),
    ("action", field("action")),
    ("of what", field("target")),
    ("outcome", field("outcome")),
    ("changed", _changed),
    ("remark", field("remark")),
)


def register(app: typer.Typer) -> None:
    """Add the command to the root application."""
    app.command("audit")(audit)


def audit(
    by: Annotated[str | None, typer.Option(help="Only of this user or token's name.")] = None,
    action: Annotated[str | None, typer.Option(help="Only such actions: slices, slices.resize, sign_in, ….")] = None,
    target: Annotated[str | None, typer.Option(help="Only of what has this in its id or name.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only with this outcome: done, not_authorized, ….")] = None,
    since: Annotated[str | None, typer.Option(help="Not before this moment: 2026-10-01T00:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this moment.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, the newest.")] = 50,
    csv: Annotated[Path | None, typer.Option(help="Write all that is found to this file as CSV; - for standard output.")] = None,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Show who did what, newest first: every change, sign-in and refusal, with what was there before and after."""
    wanted = {"by": by, "action": action, "target": target, "outcome": outcome, "since": since, "until": until}
    if csv is not None:
        _write(broker_rest(http).fetch("/audit.csv", patience_s=60.0, **wanted), csv)
        return
    found = broker_rest(http).get("/audit", limit=str(limit), **wanted)
    if as_json:
        print_json(found)
    else:
        print_table(found, COLUMNS, "nothing was done, or nothing that fits")


def _write(content: bytes, file: Path) -> None:
    from gpupool_wire.errors import UsageError

    if str(file) == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
    typer.echo(f"written to {file}")
