"""The command `gpupool run`."""

from __future__ import annotations

from typing import Annotated

import typer

from gpupool.settings import PATIENCE_S


def register(app: typer.Typer) -> None:
    """Add the command to the root application."""

    @app.command(context_settings={"allow_interspersed_args": False})
    def run(
        command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="The program and its arguments, unchanged.")],
        compute: Annotated[str | None, typer.Option(help="Per cent of one device [default: GPUPOOL_COMPUTE, else 25].")] = None,
        memory: Annotated[str | None, typer.Option(help='Memory, such as "512MiB" [default: GPUPOOL_MEMORY, else 2GiB].')] = None,
        policy: Annotated[str, typer.Option(help='"fixed", or "burst" to use idle device time too.')] = "fixed",
        kind: Annotated[str | None, typer.Option(help='Only this kind of device: "cuda" or "cpu".')] = None,
        wait: Annotated[float, typer.Option(help="Seconds to queue where the slice does not fit now.", min=0)] = PATIENCE_S,
        lazy: Annotated[
            list[str] | None,
            typer.Option(metavar="MODEL:OUTPUT", help="An output that stays on the device until it is looked at; repeatable."),
        ] = None,
        profile: Annotated[
            bool, typer.Option(help="Tell at the end where the time went, on stderr, and write a trace.", show_default=False)
        ] = False,
        profile_file: Annotated[
            str | None, typer.Option(metavar="FILE", help="The trace's file [default: gpupool-profile.json]; implies --profile.")
        ] = None,
    ) -> None:
        """Run an unmodified program with its ONNX Runtime sessions on a slice of the pool.

        The slice is released when the program ends, however it ends. The exit status is the program's.

        With --lazy, outputs that a program only looks at through argmax, max, slices or comparisons never cross the network.
        MODEL is a model's file name, its hash (first 8 characters or more) or a pattern; OUTPUT a name or a pattern.

        With --profile, every model's calls, bytes, queueing, throttling, execution and transfer are summed up, those of child
        processes too, and drawn in a file for chrome://tracing or ui.perfetto.dev.
        """
        from gpupool.launcher import Wanted
        from gpupool.launcher import run as launch
        from gpupool.lazy_names import check_wish

        trace = ""
        if profile or profile_file:
            from gpupool.profiling.program import DEFAULT_FILE, check_file

            trace = check_file(profile_file or DEFAULT_FILE)
        wishes = tuple(map(check_wish, lazy or ()))
        wanted = Wanted(compute=compute, memory=memory, policy=policy, kind=kind, wait_s=wait, lazy=wishes, profile=trace)
        raise typer.Exit(launch(wanted, command))
