"""`gpupool tenants`, `gpupool quotas`: who holds how much, and how much they may."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from gpupool.commands.output import Column, Http, Json, Row, print_json, print_table
from gpupool.commands.slices import broker_rest

UNLIMITED: Final = "none"
#: What REST takes for a quota, and what it gives.
FIELDS: Final = {
    "compute": "compute_pct",
    "memory": "memory_mib",
    "slices": "slices",
    "guaranteed_compute": "guaranteed_pct",
    "guaranteed_memory": "guaranteed_mib",
    "max_priority": "max_priority",
}


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
    ("guaranteed", lambda row: _guarantee(row["quota"])),
    ("borrowed", lambda row: f"{row['borrowed_pct']} %" if row["borrowed_pct"] else ""),
    ("standing", lambda row: f"{row['standing']:.2f}"),
    ("over quota", lambda row: "; ".join(row["over"])),
)


def _guarantee(quota: Row) -> str:
    rows = (quota["guaranteed_pct"], " %"), (quota["guaranteed_mib"], " MiB")
    return ", ".join(f"{amount}{unit}" for amount, unit in rows if amount is not None)


def tenants(as_json: Json = False, http: Http = None) -> None:
    """Show what tenants hold, and what they may hold at most."""
    found = broker_rest(http).get("/tenants")
    if as_json:
        print_json(found)
    else:
        print_table(found, COLUMNS, "nobody holds anything, and there are no quotas")


def set_quota(
    tenant: Annotated[str, typer.Argument(help="The tenant's name, as its tokens have it, or TENANT/PROJECT.")],
    compute: Annotated[
        str | None, typer.Option(help='Per cent of devices, such as 200 for two whole ones; "none" lifts it.')
    ] = None,
    memory: Annotated[str | None, typer.Option(help='Memory of all its slices, such as "64GiB"; "none" lifts it.')] = None,
    slices: Annotated[str | None, typer.Option(help='How many slices; "none" lifts it.')] = None,
    guaranteed_compute: Annotated[
        str | None, typer.Option(help="Per cent of devices it can have at any time: borrowed ones are taken back for it.")
    ] = None,
    guaranteed_memory: Annotated[str | None, typer.Option(help="Memory it can have at any time.")] = None,
    max_priority: Annotated[str | None, typer.Option(help='The highest priority it may ask with; "none" is 50.')] = None,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Set what a tenant or project may hold and is guaranteed; what is not named stays as it is."""
    from gpupool.rest import segment

    numbers = {"compute": compute, "slices": slices, "guaranteed_compute": guaranteed_compute, "max_priority": max_priority}
    amounts = {"memory": memory, "guaranteed_memory": guaranteed_memory}
    changes = {name: _number(name, text) for name, text in numbers.items() if text is not None}
    changes |= {name: _amount(text) for name, text in amounts.items() if text is not None}
    if not changes:
        raise typer.BadParameter("give --compute, --memory, --slices, --guaranteed-compute, or several")
    rest = broker_rest(http)
    nobody: Row = {"quota": {**dict.fromkeys(FIELDS.values()), "revision": 0}}
    quota = next((row for row in rest.get("/tenants") if row["tenant"] == tenant), nobody)["quota"]
    wanted: Row = {name: quota[field] for name, field in FIELDS.items()}
    name, slash, project = tenant.partition("/")
    path = f"/quotas/{segment(name)}" + (f"/projects/{segment(project)}" if slash else "")
    now = rest.put(path, {**wanted, **changes, "revision": quota["revision"]})
    if as_json:
        print_json(now)
    else:
        print_table([now], COLUMNS, "")


def _number(name: str, text: str) -> int | None:
    from gpupool_wire.errors import UsageError

    plain = text.strip().removesuffix("%").strip()
    if plain != UNLIMITED and not (plain.isascii() and plain.isdecimal()):
        raise UsageError(f"--{name.replace('_', '-')} {text!r} is not understood: a whole number, or none")
    return None if plain == UNLIMITED else int(plain)


def _amount(text: str) -> int | None:
    from gpupool_wire.units import parse_memory

    return None if text == UNLIMITED else 0 if text == "0" else parse_memory(text)
