"""`gpupool ocr apply`, `promote`, `rollback`, `history`, `status`: the service's snapshots."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Url = Annotated[str, typer.Option(help="Address of the service.", envvar="GPUPOOL_OCR_URL")]
Key = Annotated[str | None, typer.Option(help="Key of an administrator.", envvar="GPUPOOL_OCR_KEY")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_URL = "http://127.0.0.1:7170"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (apply, promote, rollback, history, show, status):
        app.command(command.__name__)(command)


def apply(
    file: Annotated[Path, typer.Argument(help="YAML file of a snapshot.", exists=True, dir_okay=False)],
    percent: Annotated[int | None, typer.Option(help="Try it on so many of 100 documents first.", min=0, max=100)] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Try it beside the active one: it answers nothing.")] = False,
    note: Annotated[str, typer.Option(help="A word for the history.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Show the difference only.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show what a snapshot would change, then have it checked on golden samples and made active, or tried."""
    text = file.read_bytes()
    found = _ask(url, key, "POST", "diff", content=text)
    if not as_json:
        for change in found["changes"]:
            typer.echo(_line(change))
        typer.echo(f"{len(found['changes'])} changes to snapshot {found['active']}")
    if dry:
        _print(found) if as_json else None
        return
    if not yes and found["changes"] and not as_json:
        typer.confirm("Apply them?", abort=True)
    params = {"note": note, "shadow": shadow, **({"percent": percent} if percent is not None else {})}
    answer = _ask(url, key, "POST", "snapshots", content=text, params=params)
    if as_json:
        _print({**found, **answer})
    else:
        recall = ", ".join(f"{who} {value:.4f}" for who, value in answer["recall"].items())
        typer.echo(f"snapshot {answer['number']}: {_desired(answer['desired'])}; golden samples: {recall}")


def promote(url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Make the candidate active."""
    _tell(_ask(url, key, "POST", "promote"), as_json)


def rollback(
    number: Annotated[int | None, typer.Argument(help="A snapshot of the history; left out, the one before.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Drop the candidate; without one, go back to the snapshot before."""
    _tell(_ask(url, key, "POST", "rollback", params={} if number is None else {"number": number}), as_json)


def history(url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """List the snapshots, newest first."""
    from datetime import datetime

    entries = _ask(url, key, "GET", "snapshots")
    if as_json:
        _print(entries)
        return
    for entry in entries:
        at = datetime.fromtimestamp(entry["at"]).astimezone().isoformat(" ", "seconds")
        typer.echo(f"{entry['number']:>6}  {at}  {entry['by']:<16}  {entry['note']}")


def show(
    number: Annotated[int, typer.Argument(help="A snapshot of the history.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print a snapshot as YAML."""
    entry = _ask(url, key, "GET", f"snapshots/{number}")
    _print(entry) if as_json else typer.echo(entry["yaml"], nl=False)


def status(url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Say what shall be, and what is alive."""
    found = _ask(url, key, "GET", "status")
    if as_json:
        _print(found)
        return
    typer.echo(f"{_desired(found['desired'])}; {found['waiting']} documents wait")
    for beat in found["instances"]:
        lacks = f", lacks {', '.join(map(str, beat['lacks']))}" if beat["lacks"] else ""
        releases = ", ".join(map(str, beat["releases"])) or "none"
        typer.echo(
            f"{beat['instance']:<32} pid {beat['pid']}  {beat['busy']} of {beat['threads']} at work, releases {releases}{lacks}"
        )
        for slice_, where in beat.get("slices", {}).items():
            typer.echo(f"    {slice_} is on {where}")
        for number, why in beat["problems"].items():
            typer.echo(f"    snapshot {number} cannot be opened: {why}")


def _ask(url: str, key: str | None, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return what the service answers. Raises UsageError with its own words, PoolUnreachable."""
    try:
        import httpx
    except ImportError as error:
        typer.echo(f"gpupool ocr needs the package {error.name}: install gpupool[ocr]", err=True)
        raise typer.Exit(1) from error
    from gpupool_wire.errors import PoolUnreachable, UsageError

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        # Opening models and reading golden samples takes a while.
        answer = httpx.request(
            method, f"{url.rstrip('/')}/v1/admin/{path}", headers=headers, timeout=300, trust_env=False, **options
        )
        body = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise PoolUnreachable(f"no recognition service answers at {url}: {error}; start one with `gpupool ocr serve`") from error
    if answer.is_success:
        return body
    raise UsageError(body.get("error", {}).get("message", f"the service answered {answer.status_code}"))


def _line(change: dict[str, Any]) -> str:
    if change["before"] is None:
        return f"+ {change['where']}: {change['after']}"
    if change["after"] is None:
        return f"- {change['where']}: {change['before']}"
    return f"~ {change['where']}: {change['before']} -> {change['after']}"


def _desired(state: dict[str, Any]) -> str:
    if state["candidate"] is None:
        return f"snapshot {state['active']} is active"
    how = "reads along" if state["shadow"] else f"gets {state['percent']} %"
    return f"snapshot {state['active']} is active, {state['candidate']} {how}"


def _tell(state: dict[str, Any], as_json: bool) -> None:
    _print(state) if as_json else typer.echo(_desired(state))


def _print(value: object) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
