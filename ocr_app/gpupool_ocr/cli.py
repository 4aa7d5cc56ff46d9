"""`gpupool ocr`: read images, folders and PDFs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `gpupool ocr` to the root application."""
    app.command("ocr")(ocr)


def ocr(
    paths: Annotated[list[Path], typer.Argument(help="Images, PDFs, or folders of them.", metavar="PATH...")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a page: polygons, texts, scores, timings.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of standard output.")] = None,
    compute: Annotated[str, typer.Option(help="Per cent of a device for the slice.", envvar="GPUPOOL_COMPUTE")] = "100",
    memory: Annotated[str, typer.Option(help="Memory of the slice.", envvar="GPUPOOL_MEMORY")] = "2GiB",
    wait: Annotated[float, typer.Option(help="Seconds to queue where the slice does not fit now.", min=0)] = 10.0,
    local: Annotated[bool, typer.Option("--local", help="Run the models in this process instead of the pool.")] = False,
) -> None:
    """Read the text of images, PDFs and folders through a slice of the pool.

    Files that cannot be read are named on standard error; the others are still read, and the exit code is 1.
    """
    try:
        from gpupool_ocr.reading import ReadingJob
    except ImportError as error:
        typer.echo(f"gpupool ocr needs the package {error.name}: install gpupool[ocr]", err=True)
        raise typer.Exit(1) from error
    from gpupool_wire.units import parse_compute

    pct = parse_compute(compute)
    job = ReadingJob(paths=paths, as_json=as_json, output=output, compute=pct, memory=memory, wait_s=wait, local=local)
    raise typer.Exit(1 if job.run() else 0)
