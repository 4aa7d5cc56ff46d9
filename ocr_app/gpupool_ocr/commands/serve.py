"""`gpupool ocr serve` and `gpupool ocr worker`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from gpupool_ocr.commands.options import needs_extra
from gpupool_ocr.commands.reading import Reading, takes_reading

Redis = Annotated[str | None, typer.Option(help="redis://... shared by several instances.", envvar="GPUPOOL_OCR_REDIS")]
Folder = Annotated[Path | None, typer.Option(help="Where snapshots are kept without Redis.", envvar="GPUPOOL_OCR_FOLDER")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve")(takes_reading(serve))
    app.command("worker")(takes_reading(worker))


def serve(
    reading: Reading,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any.", min=0, max=65535)] = 7170,
    tenants: Annotated[Path | None, typer.Option(help="YAML file of tenants, their keys and limits.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let other machines use it without keys.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds a caller waits for an answer.", min=0.1)] = 60.0,
    redis: Redis = None,
    folder: Folder = None,
) -> None:
    """Serve recognition over HTTP: POST /v1/recognize, a page to try it at /."""
    serving = _serving()
    settings = reading.settings(host=host, port=port, tenants=tenants, insecure=insecure, wait_s=wait, redis=redis, folder=folder)
    serving.serve(settings, reading.place())


def worker(
    reading: Reading,
    redis: Annotated[str, typer.Option(help="redis://... where the jobs are.", envvar="GPUPOOL_OCR_REDIS")],
) -> None:
    """Read documents that services share over Redis. Serves no HTTP."""
    _serving().work(reading.settings(redis=redis), reading.place())


def _serving() -> ModuleType:
    """Return the module that does it, which needs more than the base install."""
    with needs_extra():
        from gpupool_ocr.service import serving
    return serving
