"""`gpupool report`: who held and used what, and what it costs; as a table here, or as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from gpupool.commands.output import PIPE_COLUMNS, Http, Json, Row
from gpupool.commands.slices import broker_rest
from gpupool_wire.errors import UsageError

#: A year of a large pool by day takes the broker some time.
PATIENCE_S: Final = 150.0
FORMATS: Final = ("table", "json", "csv", "xlsx", "pdf")
#: What of the columns a table shows; files have them all.
SHOWN: Final = ("device_h", "reserved_pct_h", "reserved_gib_h", "used_h", "burst_h", "idle_h", "wait_p95_s", "energy_kwh", "cost")


def register(app: typer.Typer) -> None:
    """Add the command to the root application."""
    app.command("report")(report)


def report(
    month: Annotated[str | None, typer.Option(help="A month, such as 2026-10 [default: this month].")] = None,
    period: Annotated[
        str | None, typer.Option(help="Instead of a month: a week 2026-W41, a day 2026-10-05, or days 2026-10-05..2026-10-11.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help='Of one tenant; "a/b" is project b of tenant a.')] = None,
    by: Annotated[str, typer.Option(help="One line per tenant, project, model, node, day, week or month.")] = "tenant",
    zone: Annotated[str, typer.Option(help="Whose midnights days and months begin at, such as Europe/Berlin.")] = "UTC",
    form: Annotated[str, typer.Option("--format", help="table, json, csv, xlsx or pdf.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here instead of showing it.")] = None,
    as_json: Json = False,
    http: Http = None,
) -> None:
    """Show who held and used what, and what it costs."""
    from gpupool.rest import segment

    form = "json" if as_json and form == "table" else form
    if form not in FORMATS:
        raise UsageError(f"there is no format {form!r}: a report is had as one of {', '.join(FORMATS)}")
    if month and period:
        raise typer.BadParameter("give --month or --period, not both")
    if form == "table" and output:
        raise typer.BadParameter("a table is only shown: give --format json, csv, xlsx or pdf to write a file")
    if form in ("xlsx", "pdf") and output is None and sys.stdout.isatty():
        raise typer.BadParameter(f"{form} is no text for a terminal: give -o FILE")
    asked = {"zone": zone, "by": by, "tenant": tenant, "format": "json" if form == "table" else form}
    rest = broker_rest(http)
    path = f"/reports/{segment(month or period or _this_month())}"
    if form == "table":
        _print(rest.get(path, **asked))
        return
    _write(rest.fetch(path, patience_s=PATIENCE_S, **asked), output)


def _this_month() -> str:
    from datetime import UTC, datetime

    return f"{datetime.now(UTC):%Y-%m}"


def _write(content: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    typer.echo(f"wrote {output} ({len(content):,} bytes)", err=True)


def _print(report: Row) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = [column for column in report["columns"] if column["name"] in SHOWN]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column(report["key"], footer="total")
    for column in columns:
        head = " ".join(filter(None, (column["title"], column["unit"])))
        table.add_column(head, justify="right", footer=_shown(report["total"], column))
    for row in report["rows"]:
        # Names of others must not be read as markup.
        table.add_row(Text(row["key"]), *(_shown(row, column) for column in columns))
    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS, highlight=False)
    for line in report["about"]:
        console.print(Text(f"{line['what']}: {line['text']}"))
    if report["rows"]:
        console.print(table)
    for text in [*(one["text"] for one in report["advice"]), *report["notes"]]:
        console.print(Text(text))


def _shown(row: Row, column: Row) -> str:
    value = row["shown"][column["name"]]
    return "" if value is None else f"{float(value):,.{column['digits']}f}"
