"""`gpupool version`."""

from __future__ import annotations

from typing import Final

import typer

from gpupool.commands.output import Json, print_json

#: What shows that a part is installed.
NEEDS: Final = {
    "broker": "fastapi",
    "agent": "cryptography",
    "ocr": "cv2",
    "web": "nicegui",
    "onnxruntime": "onnxruntime",
    "cupy": "cupy",
}


def register(app: typer.Typer) -> None:
    """Add the command to the root application."""
    app.command()(version)


def version(as_json: Json = False) -> None:
    """Show the version, and which parts are installed."""
    import platform
    from importlib.metadata import version as version_of
    from importlib.util import find_spec

    parts = [part for part, module in NEEDS.items() if find_spec(module) is not None]
    about = {"gpupool": version_of("gpupool"), "python": platform.python_version(), "parts": parts}
    if as_json:
        print_json(about)
    else:
        typer.echo(f"gpupool {about['gpupool']} on Python {about['python']}, with {', '.join(parts) or 'the client alone'}")
