"""Options that say what slice is wanted."""

from __future__ import annotations

from typing import Annotated

import typer

from gpupool.commands.output import Row

Compute = Annotated[
    str | None, typer.Option(help='Per cent of one device, or "10..50" for a size that follows what is idle. [default: 25]')
]
Memory = Annotated[str, typer.Option(help='Memory, such as "2GiB".')]
Tflops = Annotated[int, typer.Option(help="Compute in TFLOPS instead of per cent.", min=0)]
Kind = Annotated[str | None, typer.Option(help='Only this kind of device: "cuda", "cpu" or "null".')]
Gpus = Annotated[int, typer.Option(help="So many devices, all or none.", min=1)]
Arrange = Annotated[str, typer.Option(help='Several devices: "pack" on few nodes or "spread" over many.')]
Project = Annotated[str, typer.Option(help="Whose quota within the tenant counts.")]
Priority = Annotated[int, typer.Option(help="0 to 100: higher is served first.", min=0, max=100)]
Model = Annotated[list[str] | None, typer.Option(help="Any of these GPU models; may be repeated.")]
Label = Annotated[list[str] | None, typer.Option(help="NAME=VALUE of device or node, or NAME>=VERSION; may be repeated.")]
Near = Annotated[str, typer.Option(help="On the node of this slice.")]
Reservation = Annotated[str, typer.Option(help="Out of this reservation.")]
USUAL_COMPUTE = "25"


def body_of(
    compute: str | None,
    *,
    tflops: int,
    model: list[str] | None,
    label: list[str] | None,
    **plain: str | int | None,
) -> Row:
    """Return what REST takes for these options. Raises typer.BadParameter for a label that is none."""
    exact: dict[str, str] = {}
    least: dict[str, str] = {}
    for text in label or ():
        name, sign, value = text.partition(">=")
        wanted = least
        if not sign:
            name, sign, value = text.partition("=")
            wanted = exact
        if not (name and sign and value):
            raise typer.BadParameter(f"a label is NAME=VALUE or NAME>=VERSION, not {text!r}")
        wanted[name] = value
    return {
        **plain,
        "compute": compute or (None if tflops else USUAL_COMPUTE),
        "tflops": tflops,
        "models": model or [],
        "node_labels": exact,
        "at_least": least,
    }
