"""`gpupool ocr fields`: invoices, tickets, bills, slips and receipts as fields, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpupool_ocr.commands.options import Compute, Local, Memory, Output, Paths, Wait, needs_extra


def register(group: typer.Typer) -> None:
    """Add `fields` to the group."""
    group.command("fields")(fields)


def fields(
    paths: Paths,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a page.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One table, a row a page.")] = False,
    output: Output = None,
    rules: Annotated[Path | None, typer.Option(help="A rule file, or a folder of them, beside the packaged types.")] = None,
    type_name: Annotated[str | None, typer.Option("--type", help="Take every page for this type.")] = None,
    verify: Annotated[list[str] | None, typer.Option(help="Ask this verifier, too (may be repeated).")] = None,
    compute: Compute = "100",
    memory: Memory = "2GiB",
    wait: Wait = 10.0,
    local: Local = False,
) -> None:
    """Read documents and give their fields: values with position and confidence, normal forms, checks, duplicates.

    Types and fields are rules in YAML; `--rules` adds one's own. The exit code is 1 where a file could not be read.
    """
    with needs_extra():
        from gpupool_ocr.fields.job import FieldsJob
        from gpupool_ocr.reading import ReadingJob
    from gpupool_wire.units import parse_compute

    reading = ReadingJob(paths=paths, output=output, compute=parse_compute(compute), memory=memory, wait_s=wait, local=local)
    form = "json" if as_json else "csv" if as_csv else "text"
    job = FieldsJob(reading=reading, form=form, rules=rules, type_name=type_name, verifiers=verify or [])
    raise typer.Exit(1 if job.run() else 0)
