"""The command `gpupool`: the client's own commands, and those that other rooms register.

A room names its `register(app)` as an entry point of the group "gpupool.commands". Every module here and there that registers
commands imports cheaply, so that `gpupool --help` is quick; what a command needs, it imports when it runs.
"""

from __future__ import annotations

import os
import sys
import traceback
from importlib.metadata import entry_points
from typing import Annotated, Final

import typer

from gpupool_wire.errors import GpupoolError

GROUP: Final = "gpupool.commands"


def make_app() -> typer.Typer:
    """Return the root application with every command of this installation."""
    from gpupool import launcher_cli
    from gpupool.commands import (
        audit,
        demo,
        nodes,
        prices,
        queue,
        report,
        reports,
        reservations,
        settings,
        slices,
        tenants,
        tokens,
        top,
        up,
        users,
        version,
    )

    app = typer.Typer(
        name="gpupool",
        help="A GPU pool: slices of devices, run somewhere else.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for module in (
        up,
        demo,
        slices,
        nodes,
        top,
        queue,
        reservations,
        tenants,
        report,
        reports,
        prices,
        tokens,
        users,
        audit,
        settings,
        launcher_cli,
        version,
    ):
        module.register(app)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            register = entry.load()
        except ImportError as error:  # a room that is half installed must not take the others' commands with it
            typer.echo(f"gpupool: the commands of {entry.name} are missing: {error}", err=True)
            continue
        register(app)
    return app


def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show log messages, and the traceback of an error.")] = False,
) -> None:
    """Say how much is shown."""
    if debug:
        import logging

        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        os.environ["GPUPOOL_DEBUG"] = "1"


def main() -> None:
    """Run the command line. Exits with 0 on success, 1 on an error (one sentence on standard error), 2 on wrong usage."""
    try:
        make_app()()
    except GpupoolError as error:
        if os.environ.get("GPUPOOL_DEBUG"):
            traceback.print_exc()
        typer.echo(f"gpupool: {error.message}", err=True)
        raise SystemExit(1) from None
    except BrokenPipeError:
        # Whoever read our output has gone (`gpupool slices | head`). Nothing more can be said there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
