"""`gpupool web`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `gpupool web` to the root application."""
    app.command("web")(web)


def web(
    bind: Annotated[str, typer.Option(help="Where the pages are served.", envvar="GPUPOOL_WEB_BIND")] = "127.0.0.1:7180",
    api: Annotated[str, typer.Option(help="The broker's REST.", envvar="GPUPOOL_API")] = "http://127.0.0.1:7181",
    home: Annotated[Path | None, typer.Option(help="State directory.", envvar="GPUPOOL_HOME")] = None,
    admin_token_file: Annotated[
        Path | None, typer.Option(help="Offer a one-time sign-in link for this token (loopback only).")
    ] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Write the addresses here once serving (JSON).")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM) to serve the pages with over TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key (PEM) of --tls-cert.")] = None,
    public_url: Annotated[
        str,
        typer.Option(
            help="Where browsers find the pages, where a proxy in front does not pass their Host on.", envvar="GPUPOOL_PUBLIC_URL"
        ),
    ] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow binding beyond loopback without encryption.")] = False,
) -> None:
    """Serve the web pages, and pass REST through to the broker."""
    from gpupool_wire.addresses import check_bind, parse_address
    from gpupool_wire.home import state_home
    from gpupool_wire.limits import HTTP_PORT

    # Looked for, not imported: NiceGUI reads its storage path when it is imported, and that is set later.
    if find_spec("nicegui") is None or find_spec("httpx") is None:
        typer.echo("gpupool web needs the packages nicegui and httpx: install gpupool[web]", err=True)
        raise typer.Exit(1)
    from gpupool_web.main import WebSettings, run_web

    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("TLS needs both --tls-cert and --tls-key")
    tls = (tls_cert, tls_key) if tls_cert and tls_key else None
    run_web(
        WebSettings(
            bind=check_bind(parse_address(bind, HTTP_PORT), insecure=insecure, encrypted=tls is not None),
            api=api.rstrip("/"),
            home=home or state_home(),
            tls=tls,
            public_url=public_url,
            admin_token_file=admin_token_file,
            ready_file=ready_file,
        )
    )
