"""`gpupool users list | create | change | disable | enable | reset-password | sign-out`."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from gpupool.commands.output import Column, Http, Json, field, moment, print_json, print_or_say, print_table
from gpupool.commands.slices import broker_rest

COLUMNS: Final[tuple[Column, ...]] = (
    ("name", field("name")),
    ("role", field("role")),
    ("tenant", field("tenant")),
    ("signs in with", field("signs_in_with")),
    ("last sign-in (UTC)", moment("used_at")),
    ("sessions", field("sessions")),
    ("state", lambda row: "disabled" if row["disabled_at"] else "one-time password" if row["must_change"] else "active"),
)
Name = Annotated[str, typer.Argument(help="The user's name.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    users = typer.Typer(help="Users: who signs in to the pages, in which role.", no_args_is_help=True)
    users.command("list")(show)
    users.command("create")(create)
    users.command("change")(change)
    users.command("disable")(disable)
    users.command("enable")(enable)
    users.command("reset-password")(reset_password)
    users.command("sign-out")(sign_out)
    app.add_typer(users, name="users")


def show(as_json: Json = False, http: Http = None) -> None:
    """Show all users."""
    found = broker_rest(http).get("/users")
    if as_json:
        print_json(found)
    else:
        print_table(found, COLUMNS, "there are no users")


def create(
    name: Name,
    role: Annotated[str, typer.Option(help="admin, finance or tenant.")],
    tenant: Annotated[str, typer.Option(help="The tenant's name, for the role tenant.")] = "",
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Make a user and print its one-time password, which has to be changed at the first sign-in. It cannot be shown again."""
    made = broker_rest(http).post("/users", {"name": name, "role": role, "tenant": tenant})
    print_or_say(made, as_json, made["one_time_password"])


def change(
    name: Name,
    role: Annotated[str | None, typer.Option(help="admin, finance or tenant.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant's name.")] = None,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Give a user another role or tenant; it holds at once, also where it is signed in."""
    wanted = {key: value for key, value in (("role", role), ("tenant", tenant)) if value is not None}
    if not wanted:
        raise typer.BadParameter("say what to change: --role, --tenant, or both")
    _change(name, wanted, as_json, http, f"{name} is changed")


def disable(name: Name, as_json: Json = False, http: Http = None) -> None:
    """Let a user in no more; it is signed out everywhere."""
    _change(name, {"disabled": True}, as_json, http, f"{name} is disabled")


def enable(name: Name, as_json: Json = False, http: Http = None) -> None:
    """Let a user in again that was disabled."""
    _change(name, {"disabled": False}, as_json, http, f"{name} is enabled")


def reset_password(name: Name, as_json: Json = False, http: Http = None) -> None:
    """Give a user a new one-time password and print it; it is signed out everywhere."""
    made = broker_rest(http).post(f"{_path(name)}/reset-password", {})
    print_or_say(made, as_json, made["one_time_password"])


def sign_out(name: Name, as_json: Json = False, http: Http = None) -> None:
    """Sign a user out everywhere."""
    ended = broker_rest(http).post(f"{_path(name)}/end-sessions", {})
    print_or_say(ended, as_json, f"{ended['ended']} sessions of {name} are ended")


def _change(name: str, wanted: dict[str, Any], as_json: bool, http: str | None, said: str) -> None:
    print_or_say(broker_rest(http).patch(_path(name), wanted), as_json, said)


def _path(name: str) -> str:
    from gpupool.rest import segment

    return f"/users/{segment(name)}"
