"""`gpupool settings`: what an admin sets while the broker runs."""

from __future__ import annotations

import json
from typing import Annotated, Final

import typer

from gpupool.commands.output import Column, Http, Json, field, moment, print_json, print_or_say, print_table
from gpupool.commands.slices import broker_rest

COLUMNS: Final[tuple[Column, ...]] = (
    ("name", field("name")),
    ("value", lambda row: json.dumps(row["value"])),
    ("may be", field("may_be")),
    ("what for", field("help")),
    ("changed by", field("changed_by")),
    ("changed (UTC)", moment("changed_at")),
    ("", lambda row: "fixed by an option of the broker" if row["fixed"] else ""),
)


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    settings = typer.Typer(help="What is set while the broker runs.", no_args_is_help=True)
    settings.command("list")(show)
    settings.command("set")(change)
    app.add_typer(settings, name="settings")


def show(as_json: Json = False, http: Http = None) -> None:
    """Show every setting, what it may be, and who changed it."""
    found = broker_rest(http).get("/settings")
    if as_json:
        print_json(found)
    else:
        print_table(found, COLUMNS, "there are no settings")


def change(
    name: Annotated[str, typer.Argument(help="Which one.")],
    value: Annotated[str, typer.Argument(help="What it shall be: a word, a number, or null.")],
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Change a setting; it holds at once."""
    try:
        wanted = json.loads(value)
    except ValueError:
        wanted = value
    found = broker_rest(http).patch("/settings", {"values": {name: wanted}})
    print_or_say(found, as_json, f"{name} is {value}")
