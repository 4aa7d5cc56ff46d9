"""`gpupool ocr FILE...`, or `gpupool ocr read`: read images, folders and PDFs."""

from __future__ import annotations

from typing import Annotated

import typer

from gpupool_ocr.commands.options import Compute, Local, Memory, Output, Paths, Wait, needs_extra


def register(group: typer.Typer) -> None:
    """Add `read` to the group."""
    group.command("read")(read)


def read(
    paths: Paths,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a page: polygons, texts, scores, timings.")] = False,
    output: Output = None,
    compute: Compute = "100",
    memory: Memory = "2GiB",
    wait: Wait = 10.0,
    local: Local = False,
) -> None:
    """Read the text of images, PDFs and folders through a slice of the pool.

    Files that cannot be read are named on standard error; the others are still read, and the exit code is 1.
    """
    with needs_extra():
        from gpupool_ocr.reading import ReadingJob
    from gpupool_wire.units import parse_compute

    pct = parse_compute(compute)
    job = ReadingJob(paths=paths, as_json=as_json, output=output, compute=pct, memory=memory, wait_s=wait, local=local)
    raise typer.Exit(1 if job.run() else 0)
