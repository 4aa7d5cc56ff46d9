"""`gpupool nodes`, `slices`, `release`, `resize`: the broker's REST for people in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpupool.commands.output import Column, Http, Json, Row, field, print_json, print_table

if TYPE_CHECKING:
    from gpupool.rest import RestClient


def _range(row: Row) -> str:
    return f" of {row['compute_min_pct']}..{row['compute_max_pct']}" if row.get("compute_min_pct") else ""


SLICE_COLUMNS: tuple[Column, ...] = (
    ("slice", field("slice_id")),
    ("tenant", field("tenant")),
    ("state", field("state")),
    ("device", lambda row: f"{row['node']}/{row['device']}" if row["node"] else ""),
    ("kind", field("kind")),
    ("compute %", lambda row: f"{row['compute_pct']}{_range(row)}"),
    ("memory MiB", field("memory_mib")),
    ("policy", field("policy")),
    ("had %", lambda row: f"{row['achieved_10s_pct']:.1f}"),
    ("hold", field("hold")),
    ("device ms", lambda row: f"{row['device_ms']:.0f}"),
    ("throttled ms", lambda row: f"{row['throttled_ms']:.0f}"),
    ("calls", field("calls")),
    ("holder", field("holder")),
    ("label", field("label")),
)
DEVICE_COLUMNS: tuple[Column, ...] = (
    ("node", field("node")),
    ("state", field("state")),
    ("device", field("device")),
    ("kind", field("kind")),
    ("model", field("model")),
    ("given out %", field("compute_allocated_pct")),
    ("given out MiB", field("memory_allocated_mib")),
    ("of MiB", field("memory_mib")),
    ("busy %", lambda row: f"{row['busy_pct']:.1f}" if "busy_pct" in row else ""),
    ("slices", field("slices")),
)
Id = Annotated[str, typer.Argument(metavar="SLICE", help="Its id, as `gpupool slices` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    for command in (nodes, slices, release, resize, pause, resume):
        app.command()(command)


def nodes(as_json: Json = False, http: Http = None) -> None:
    """Show the nodes and their devices, and how much of them is given out."""
    rest = broker_rest(http)
    found, devices = rest.get("/nodes"), rest.get("/devices")
    if as_json:
        for node in found:
            node["devices"] = [device for device in devices if device["node"] == node["node"]]
        print_json(found)
        return
    bare = [node for node in found if not any(device["node"] == node["node"] for device in devices)]
    print_table([*devices, *bare], DEVICE_COLUMNS, "no node has joined yet: start one with `gpupool agent`")


def slices(
    show_all: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Show who holds what, and what they used."""
    found = broker_rest(http).get("/slices", state="all" if show_all else "live", tenant=tenant)
    if as_json:
        print_json(found)
    else:
        print_table(found, SLICE_COLUMNS, "no slice is held" if not show_all else "no slice was ever held")


def release(slice_id: Id, as_json: Json = False, http: Http = None) -> None:
    """Take a slice back."""
    from gpupool.rest import segment

    ended = broker_rest(http).delete(f"/slices/{segment(slice_id)}")
    _say(ended, as_json, f"{slice_id} is {ended['state']}")


def resize(
    slice_id: Id,
    compute: Annotated[str | None, typer.Option(help="New share of the device's time, in per cent.")] = None,
    memory: Annotated[str | None, typer.Option(help='New memory limit, such as "2GiB".')] = None,
    deadline: Annotated[
        float,
        typer.Option(min=0, help="For less memory than it uses: seconds in which idle models may be unloaded to make room."),
    ] = 0.0,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Change the size of a slice while it runs."""
    from gpupool.rest import segment
    from gpupool_wire.units import format_memory, parse_compute, parse_memory

    if compute is None and memory is None:
        raise typer.BadParameter("give --compute, --memory, or both")
    change = {
        "compute": None if compute is None else parse_compute(compute),
        "memory": None if memory is None else parse_memory(memory),
        "deadline_s": deadline,
    }
    now = broker_rest(http).patch(f"/slices/{segment(slice_id)}", change, patience_s=deadline)
    _say(now, as_json, f"{slice_id} has {now['compute_pct']} % and {format_memory(now['memory_mib'])} now")


def pause(slice_id: Id, as_json: Json = False, http: Http = None) -> None:
    """Let a slice stand still: it keeps its memory, its compute is free for others, its calls wait."""
    from gpupool.rest import segment

    now = broker_rest(http).post(f"/slices/{segment(slice_id)}/pause", {})
    _say(now, as_json, f"{slice_id} is paused")


def resume(slice_id: Id, as_json: Json = False, http: Http = None) -> None:
    """Let a paused slice go on, if its device has room for it."""
    from gpupool.rest import segment

    now = broker_rest(http).post(f"/slices/{segment(slice_id)}/resume", {})
    _say(now, as_json, f"{slice_id} goes on")


def broker_rest(http: str | None) -> RestClient:
    """Return the REST client for the broker and token of this environment."""
    from gpupool.rest import RestClient
    from gpupool.settings import client_token, rest_address

    return RestClient(rest_address(http), client_token())


def _say(data: Row, as_json: bool, text: str) -> None:
    if as_json:
        print_json(data)
    else:
        typer.echo(text)
