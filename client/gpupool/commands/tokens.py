"""`gpupool tokens list | create | revoke`."""

from __future__ import annotations

from typing import Annotated

import typer

from gpupool.commands.output import Column, Http, Json, field, moment, print_json, print_table
from gpupool.commands.slices import broker_rest

COLUMNS: tuple[Column, ...] = (
    ("id", field("id")),
    ("role", field("role")),
    ("tenant", field("tenant")),
    ("name", field("name")),
    ("created (UTC)", moment("created_at")),
    ("expires", moment("expires_at")),
    ("used", moment("used_at")),
    ("revoked", moment("revoked_at")),
    ("may", lambda row: "read" if row.get("read_only") else "change"),
    ("made by", field("made_by")),
)


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    tokens = typer.Typer(help="Tokens: who may do what, and what nodes join with.", no_args_is_help=True)
    tokens.command("list")(show)
    tokens.command("create")(create)
    tokens.command("revoke")(revoke)
    app.add_typer(tokens, name="tokens")


def show(as_json: Json = False, http: Http = None) -> None:
    """Show all tokens, without the tokens themselves."""
    found = broker_rest(http).get("/tokens")
    if as_json:
        print_json(found)
    else:
        print_table(found, COLUMNS, "there are no tokens")


def create(
    role: Annotated[str, typer.Option(help="admin, finance, tenant or join.")],
    tenant: Annotated[str, typer.Option(help="The tenant's name, for the role tenant.")] = "",
    name: Annotated[str, typer.Option(help="What it is for, for people.")] = "",
    expires: Annotated[int | None, typer.Option(help="Seconds it is valid.", min=1)] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="It may look and change nothing.")] = False,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Make a token and print it. It cannot be shown again."""
    wanted = {"role": role, "tenant": tenant, "name": name, "expires_s": expires, "read_only": read_only}
    made = broker_rest(http).post("/tokens", wanted)
    if as_json:
        print_json(made)
    else:
        typer.echo(made["token"])


def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `gpupool tokens list` shows it.")],
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Make a token useless."""
    from gpupool.rest import segment

    revoked = broker_rest(http).delete(f"/tokens/{segment(token_id)}")
    if as_json:
        print_json(revoked)
    else:
        typer.echo(f"{token_id} is revoked")
