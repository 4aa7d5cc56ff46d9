"""`gpupool ocr serve` and `gpupool ocr worker`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

Redis = Annotated[str | None, typer.Option(help="redis://... shared by several instances.", envvar="GPUPOOL_OCR_REDIS")]
Folder = Annotated[Path | None, typer.Option(help="Where snapshots are kept without Redis.", envvar="GPUPOOL_OCR_FOLDER")]
Pages = Annotated[int, typer.Option(help="Documents read at the same time: what memory grows with.", min=1, max=64)]
Compute = Annotated[str, typer.Option(help="Per cent of a device for the slice.", envvar="GPUPOOL_COMPUTE")]
Memory = Annotated[str, typer.Option(help="Memory of the slice.", envvar="GPUPOOL_MEMORY")]
Local = Annotated[bool, typer.Option("--local", help="Run the models in this process instead of the pool.")]
Log = Annotated[Path | None, typer.Option(help="Append a JSON line for each document, text redacted.", envvar="GPUPOOL_OCR_LOG")]
Redact = Annotated[list[str] | None, typer.Option(help="A pattern the log leaves out, too; may be given again.")]
Fetch = Annotated[list[str] | None, typer.Option(help="A host pages may be fetched from and answers sent to (*.example.org).")]
Networks = Annotated[list[str] | None, typer.Option(help="A network of one's own that may be fetched from (10.1.0.0/16).")]
MaxPages = Annotated[int, typer.Option(help="Pages of one document.", min=1)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve")(serve)
    app.command("worker")(worker)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any.", min=0, max=65535)] = 7170,
    tenants: Annotated[Path | None, typer.Option(help="YAML file of tenants, their keys and limits.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let other machines use it without keys.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds a caller waits for an answer.", min=0.1)] = 60.0,
    redis: Redis = None,
    folder: Folder = None,
    pages: Pages = 4,
    compute: Compute = "100",
    memory: Memory = "2GiB",
    local: Local = False,
    log: Log = None,
    redact: Redact = None,
    fetch: Fetch = None,
    fetch_network: Networks = None,
    max_pages: MaxPages = 100,
) -> None:
    """Serve recognition over HTTP: POST /v1/recognize, a page to try it at /."""
    serving, settings = _import()
    serving.serve(
        settings.Settings(
            host=host,
            port=port,
            tenants=tenants,
            insecure=insecure,
            wait_s=wait,
            redis=redis,
            folder=folder or settings.default_folder(),
            pages=pages,
            log=log,
            redact=tuple(redact or ()),
            fetch_hosts=tuple(fetch or ()),
            fetch_networks=tuple(fetch_network or ()),
            max_pages=max_pages,
        ),
        serving.Place(compute=compute, memory=memory, local=local),
    )


def worker(
    redis: Annotated[str, typer.Option(help="redis://... where the jobs are.", envvar="GPUPOOL_OCR_REDIS")],
    pages: Pages = 4,
    compute: Compute = "100",
    memory: Memory = "2GiB",
    local: Local = False,
    log: Log = None,
    redact: Redact = None,
    fetch: Fetch = None,
    fetch_network: Networks = None,
    max_pages: MaxPages = 100,
) -> None:
    """Read documents that services share over Redis. Serves no HTTP."""
    serving, settings = _import()
    serving.work(
        settings.Settings(
            redis=redis,
            folder=settings.default_folder(),
            pages=pages,
            log=log,
            redact=tuple(redact or ()),
            fetch_hosts=tuple(fetch or ()),
            fetch_networks=tuple(fetch_network or ()),
            max_pages=max_pages,
        ),
        serving.Place(compute=compute, memory=memory, local=local),
    )


def _import() -> tuple[ModuleType, ModuleType]:
    """Return the modules that do it, which need more than the base install."""
    try:
        from gpupool_ocr.service import serving, settings
    except ImportError as error:
        typer.echo(f"gpupool ocr needs the package {error.name}: install gpupool[ocr]", err=True)
        raise typer.Exit(1) from error
    return serving, settings
