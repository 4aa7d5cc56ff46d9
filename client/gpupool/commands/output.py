"""What commands print: JSON for programs, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Http = Annotated[
    str | None,
    typer.Option(help="REST of the broker [default: GPUPOOL_HTTP, else port 7180 at GPUPOOL_URL, else the pool here]."),
]
#: One row of a table, as REST gives it.
Row = dict[str, Any]
#: A column: its head, and what it shows of a row.
Column = tuple[str, Callable[[Row], object]]
PIPE_COLUMNS: Final = 400
#: Columns whose head ends so hold numbers.
_NUMERIC: Final = ("%", "MiB", "ms", "calls", "slices", "devices", "epoch")


def print_json(data: object) -> None:
    """Print data as one JSON document."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")


def print_or_say(data: object, as_json: bool, text: str) -> None:
    """Print data as JSON for programs, one sentence of it for people."""
    if as_json:
        print_json(data)
    else:
        typer.echo(text)


def print_table(rows: Sequence[Row], columns: Sequence[Column], nothing: str) -> None:
    """Print rows as a table, or `nothing` where there are none."""
    from rich.console import Console

    if not rows:
        typer.echo(nothing)
        return
    # A pipe has no width: whoever reads it should not get words folded at 80 columns.
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(make_table(rows, columns))


def make_table(rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    """Return rows as a table of rich's."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head, _ in columns:
        table.add_column(head, justify="right" if head.endswith(_NUMERIC) else "left", overflow="fold")
    for row in rows:
        # Texts of others (labels, names) must not be read as markup.
        table.add_row(*(Text(str(show(row))) for _, show in columns))
    return table


def field(name: str) -> Callable[[Row], object]:
    """Return what shows one field, "" where it is not there."""
    return lambda row: "" if row.get(name) is None else row[name]


def moment(name: str) -> Callable[[Row], object]:
    """Return what shows a time to the second, as REST gives it (UTC)."""
    return lambda row: str(row.get(name) or "").replace("T", " ")[:19]
