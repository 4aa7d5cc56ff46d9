"""`gpupool ocr tune`: a recogniser that reads one's own lines better."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpupool_ocr.commands.options import Compute, Local, Memory, Wait, needs_extra


def register(group: typer.Typer) -> None:
    """Add `tune` to the group."""
    group.command("tune")(tune)


def tune(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The model to write (NAME.onnx); NAME.card.json goes beside it.")
    ],
    data: Annotated[list[Path] | None, typer.Option(help="A folder of labelled pages (may be repeated).")] = None,
    cases: Annotated[Path | None, typer.Option(help="A store of bad cases: those that are labelled join the data.")] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Labelled pages of other kinds that must not be forgotten: trained on, too.")
    ] = None,
    others: Annotated[Path | None, typer.Option(help="Labelled pages of other kinds, to measure what is forgotten.")] = None,
    base: Annotated[Path | None, typer.Option(help="The recogniser to start from, in place of the packaged one.")] = None,
    epochs: Annotated[int, typer.Option(help="How often all lines are walked over.")] = 40,
    rate: Annotated[float, typer.Option(help="Adam's step.")] = 1e-3,
    batch: Annotated[int, typer.Option(help="Lines a step.")] = 32,
    pull: Annotated[float, typer.Option(help="How strongly weights are drawn to what they were.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of the split and of the order of lines.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card.")] = False,
    compute: Compute = "100",
    memory: Memory = "2GiB",
    wait: Wait = 10.0,
    local: Local = False,
) -> None:
    """Train the recogniser's last layer on labelled lines.

    Pages are split 6:2:2: trained on, chosen by, measured on. The network runs on a slice, the layer is trained here.
    The card says exactness before and after, with intervals, and whether that is better. Nothing gained is no error.
    """
    with needs_extra():
        from gpupool_ocr.training.fitting import Settings
        from gpupool_ocr.training.job import TuningJob
    import json
    import tempfile

    from gpupool_wire.units import parse_compute

    settings = Settings(epochs=epochs, rate=rate, batch=batch, pull=pull, seed=seed)
    job = TuningJob(
        data=data or [], cases=cases, replay=replay, others=others, output=output, base=base, settings=settings,
        compute=parse_compute(compute), memory=memory, wait_s=wait, local=local,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        card = job.run(lambda text: typer.echo(text, err=True), Path(scratch))
    if as_json:
        typer.echo(json.dumps(card.to_json(), ensure_ascii=False))
        return
    typer.echo(f"{output}\nheld out: {card.held_out.sentence()}")
    if card.others:
        typer.echo(f"others: {card.others.sentence()}")
    if card.is_better:
        typer.echo(f"better. For a snapshot of the service: recognition: {json.dumps(card.model_spec(output))}")
    else:
        typer.echo("not better: keep what you have")
