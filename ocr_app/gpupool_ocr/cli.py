"""`gpupool ocr`: a group of commands of which `read` is meant where none is named.

gpupool ocr invoice.jpg ──> gpupool ocr read invoice.jpg
gpupool ocr eval DATA   ──> gpupool_ocr.commands.evaluate
gpupool ocr serve       ──> gpupool_ocr.commands.serve
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

#: The modules of gpupool_ocr.commands, in the order that --help lists them.
COMMANDS = ("read", "fields", "evaluate", "synth", "cases", "tune", "serve", "snapshots")
DEFAULT = "read"


class ReadsByDefault(TyperGroup):
    """A group whose first word may be a file: then `read` is meant. `read FILE` also reads a file called like a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's context; typer brings its own click
        """Put the default command in front of arguments that name no command."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [DEFAULT, *args]
        return list(super().parse_args(ctx, args))


def register(app: typer.Typer) -> None:
    """Add `gpupool ocr` to the root application."""
    group = typer.Typer(
        cls=ReadsByDefault,
        no_args_is_help=True,
        help="Read pages through the pool, as a command or a service, and keep the quality. `gpupool ocr FILE...` reads files.",
    )
    for name in COMMANDS:
        import_module(f"gpupool_ocr.commands.{name}").register(group)
    app.add_typer(group, name="ocr")
