"""`gpupool drain`, `cordon`, `uncordon`: nodes that leave the pool for a while, in order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from gpupool.commands.output import Http, Json, Row, print_json
from gpupool.commands.slices import broker_rest

if TYPE_CHECKING:
    from gpupool.rest import RestClient

Node = Annotated[str, typer.Argument(metavar="NODE", help="Its name, as `gpupool nodes` shows it.")]
#: Between two looks at a node that empties.
LOOK_S = 0.2


def register(app: typer.Typer) -> None:
    """Add the commands to the root application."""
    for command in (drain, cordon, uncordon):
        app.command()(command)


def drain(
    node: Node,
    deadline: Annotated[float, typer.Option(min=0, help="Seconds in which its slices may find another place.")] = 60.0,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when the node is empty.")] = True,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Empty a node: nothing new goes there, what is there moves elsewhere, or ends when the time is over."""
    rest = broker_rest(http)
    found = _post(rest, node, "drain", {"deadline_s": deadline})
    while wait and found["slices"]:
        time.sleep(LOOK_S)
        found = next(row for row in rest.get("/nodes") if row["node"] == node)
        if found["state"] != "draining":
            break
    _say(found, as_json, f"{node} is {found['state']}, {found['slices']} slice(s) are left on it")


def cordon(node: Node, as_json: Json = False, http: Http = None) -> None:
    """Place nothing new on a node; what is there stays."""
    found = _post(broker_rest(http), node, "cordon")
    _say(found, as_json, f"{node} takes nothing new; {found['slices']} slice(s) stay on it")


def uncordon(node: Node, as_json: Json = False, http: Http = None) -> None:
    """Give a cordoned or drained node back to the pool."""
    found = _post(broker_rest(http), node, "uncordon")
    _say(found, as_json, f"{node} is {found['state']}")


def _post(rest: RestClient, node: str, what: str, body: Row | None = None) -> Row:
    from gpupool.rest import segment

    found: Row = rest.post(f"/nodes/{segment(node)}/{what}", body or {})
    return found


def _say(found: Row, as_json: bool, text: str) -> None:
    if as_json:
        print_json(found)
    else:
        typer.echo(text)
