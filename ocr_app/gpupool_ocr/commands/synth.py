"""`gpupool ocr synth`: pages of one's own, with labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpupool_ocr.commands.options import needs_extra


def register(group: typer.Typer) -> None:
    """Add `synth` to the group."""
    group.command("synth")(synth)


def synth(
    folder: Annotated[Path, typer.Argument(help="Where images and labels are written.")],
    kinds: Annotated[str, typer.Option("--kind", help="Kinds of pages with commas between them, or `documents`.")] = "scene",
    count: Annotated[int, typer.Option(help="How many pages; the kinds take turns.")] = 10,
    seed: Annotated[int, typer.Option(help="The same seed, with the same fonts, draws the same pages.")] = 0,
    degrade: Annotated[str, typer.Option(help="What happens to the pages, as in blur=0.3,jpeg=0.5.")] = "",
    fonts: Annotated[
        list[Path] | None, typer.Option(help="A folder of fonts, in place of the system's (may be repeated).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a page.")] = False,
) -> None:
    """Draw pages with labels: documents of every type that `fields` knows, words on backgrounds, plates, serial numbers.

    NAME.png and NAME.json of each page go to FOLDER, as `eval` and `tune` read them.
    """
    with needs_extra():
        from gpupool_ocr.synthesis.dataset import write
        from gpupool_ocr.synthesis.degradation import parse_degradations
        from gpupool_ocr.synthesis.fonts import FOLDERS
        from gpupool_ocr.synthesis.generator import Order, draw
        from gpupool_ocr.synthesis.templates import TEMPLATES
    import json

    chosen = tuple(TEMPLATES) if kinds == "documents" else tuple(filter(None, kinds.split(",")))
    order = Order(
        kinds=chosen, count=count, seed=seed, degradations=parse_degradations(degrade), fonts=tuple(fonts) if fonts else FOLDERS
    )
    for name, drawn in draw(order):
        path = write(name, drawn, folder)
        typer.echo(json.dumps({"path": str(path), "type": drawn.type, "lines": len(drawn.labels)}) if as_json else str(path))
