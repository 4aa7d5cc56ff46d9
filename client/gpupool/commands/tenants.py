"""`gpupool tenants`, `gpupool quotas`: who holds how much, and how much they may."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from gpupool.commands.output import Column, Http, Json, Row, print_json, print_table
from gpupool.commands.slices import broker_rest

UNLIMITED: Final = "none"


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    app.command("tenants")(tenants)
    quotas = typer.Typer(help="What tenants may hold at most.", no_args_is_help=True)
    quotas.command("list")(tenants)
    quotas.command("set")(set_quota)
    app.add_typer(quotas, name="quotas")


def _of(name: str, unit: str = "") -> Column:
    def show(row: Row) -> str:
        limit = row["quota"][name]
        return f"{row[name]}{unit}" if limit is None else f"{row[name]} of {limit}{unit}"

    return name.removesuffix("_pct").removesuffix("_mib"), show


COLUMNS: tuple[Column, ...] = (
    ("tenant", lambda row: row["tenant"]),
    _of("compute_pct", " %"),
    _of("memory_mib", " MiB"),
    _of("slices"),
    ("over quota", lambda row: "; ".join(row["over"])),
)


def tenants(as_json: Json = False, http: Http = None) -> None:
    """Show what tenants hold, and what they may hold at most."""
    found = broker_rest(http).get("/tenants")
    if as_json:
        print_json(found)
    else:
        print_table(found, COLUMNS, "nobody holds anything, and there are no quotas")


def set_quota(
    tenant: Annotated[str, typer.Argument(help="The tenant's name, as its tokens have it.")],
    compute: Annotated[
        str | None, typer.Option(help='Per cent of devices, such as 200 for two whole ones; "none" lifts it.')
    ] = None,
    memory: Annotated[str | None, typer.Option(help='Memory of all its slices, such as "64GiB"; "none" lifts it.')] = None,
    slices: Annotated[str | None, typer.Option(help='How many slices; "none" lifts it.')] = None,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Set what a tenant may hold at most; what is not named stays as it is."""
    from gpupool.rest import segment
    from gpupool_wire.errors import UsageError
    from gpupool_wire.units import parse_memory

    if compute is None and memory is None and slices is None:
        raise typer.BadParameter("give --compute, --memory, --slices, or several")
    rest = broker_rest(http)
    nobody: Row = {"quota": {"compute_pct": None, "memory_mib": None, "slices": None, "revision": 0}}
    quota = next((row for row in rest.get("/tenants") if row["tenant"] == tenant), nobody)["quota"]
    wanted: Row = {"compute": quota["compute_pct"], "memory": quota["memory_mib"], "slices": quota["slices"]}
    for name, text in (("compute", compute), ("slices", slices)):
        if text is not None:
            plain = text.strip().removesuffix("%").strip()
            if plain != UNLIMITED and not plain.isdecimal():
                raise UsageError(f"--{name} {text!r} is not understood: a whole number, or none")
            wanted[name] = None if plain == UNLIMITED else int(plain)
    if memory is not None:
        wanted["memory"] = None if memory == UNLIMITED else parse_memory(memory)
    now = rest.put(f"/quotas/{segment(tenant)}", {**wanted, "revision": quota["revision"]})
    if as_json:
        print_json(now)
    else:
        print_table([now], COLUMNS, "")
