"""Options that several commands share, and the sentence for those who lack a package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

Paths = Annotated[list[Path], typer.Argument(help="Images, PDFs, or folders of them.", metavar="PATH...")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of standard output.")]
Compute = Annotated[str, typer.Option(help="Per cent of a device for the slice.", envvar="GPUPOOL_COMPUTE")]
Memory = Annotated[str, typer.Option(help="Memory of the slice.", envvar="GPUPOOL_MEMORY")]
Wait = Annotated[float, typer.Option(help="Seconds to queue where the slice does not fit now.", min=0)]
Local = Annotated[bool, typer.Option("--local", help="Run the models in this process instead of the pool.")]


@contextmanager
def needs_extra() -> Iterator[None]:
    """End the command with a sentence where a package of the extra `ocr` is missing."""
    try:
        yield
    except ImportError as error:
        typer.echo(f"gpupool ocr needs the package {error.name}: install gpupool[ocr]", err=True)
        raise typer.Exit(1) from error
