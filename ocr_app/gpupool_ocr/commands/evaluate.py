"""`gpupool ocr eval`: how well labelled pages are read, by one version or two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpupool_ocr.commands.options import Compute, Local, Memory, Wait, needs_extra


def register(group: typer.Typer) -> None:
    """Add `eval` to the group."""
    group.command("eval")(evaluate)


def evaluate(
    images: Annotated[Path, typer.Argument(help="A folder of images with their labels.")],
    labels: Annotated[Path | None, typer.Option(help="Where the labels lie, if not beside the images.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Where the fields lie as NAME.json, if not in the labels.")] = None,
    version: Annotated[
        list[str] | None,
        typer.Option(help="NAME=packaged, rapidocr, PATH.onnx (a recogniser) or PATH.jsonl (read before); up to two."),
    ] = None,
    rules: Annotated[Path | None, typer.Option(help="Rule files for fields, beside the packaged ones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")] = False,
    report: Annotated[Path | None, typer.Option("--html", help="Also write a page that needs nothing else.")] = None,
    compute: Compute = "100",
    memory: Memory = "2GiB",
    wait: Wait = 10.0,
    local: Local = False,
) -> None:
    """Measure detection, text, fields and time on labelled pages; with two versions, also their difference and where they differ.

    Intervals are of 95 %, by bootstrap over pages.
    """
    with needs_extra():
        from gpupool_ocr.evaluation.run import EvaluationJob
    from gpupool_wire.units import parse_compute

    job = EvaluationJob(
        images=images, labels=labels, keys=keys, versions=version or ["packaged"], rules=rules, report=report, as_json=as_json,
        compute=parse_compute(compute), memory=memory, wait_s=wait, local=local,
    )  # fmt: skip
    typer.echo(job.run(), nl=False)
