"""The web process: pages and the passage to REST on one port, from start to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import uvicorn
    from fastapi import FastAPI

from gpupool_web.signing import Tickets, cookie_secret
from gpupool_wire.addresses import Address
from gpupool_wire.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class WebSettings:
    """What the web process can be told."""

    bind: Address
    #: The broker's REST, such as http://127.0.0.1:7181.
    api: str
    home: Path
    #: Certificate and key (PEM) the pages are served with over TLS.
    tls: tuple[Path, Path] | None = None
    #: Where browsers find the pages, where a proxy does not pass their Host on.
    public_url: str = ""
    admin_token_file: Path | None = None
    ready_file: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the web process keeps its own files."""
        return self.home / "web"


def run_web(settings: WebSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises UsageError where the port is taken."""
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # NiceGUI reads this when it is imported.
    os.environ["NICEGUI_STORAGE_PATH"] = str(settings.folder / "sessions")
    import uvicorn

    listener = _listen(settings.bind)
    tickets = Tickets()
    app = make_app(settings, tickets)
    certificate, key = settings.tls or (None, None)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=1, ssl_certfile=certificate, ssl_keyfile=key
    )
    server = uvicorn.Server(config)
    _announce(settings, listener, tickets)
    with _stopping_on_signals(server):
        server.run(sockets=[listener])


def make_app(settings: WebSettings, tickets: Tickets) -> FastAPI:
    """Return the application: pages, and REST passed through."""
    from fastapi import FastAPI
    from nicegui import ui

    from gpupool_web.follower import Follower
    from gpupool_web.guard import Guard
    from gpupool_web.pages import (
        audit,
        devices,
        one_slice,
        overview,
        password,
        queue,
        reports,
        sign_in,
        slices,
        tenants,
        users,
    )
    from gpupool_web.pages import (
        settings as settings_page,
    )
    from gpupool_web.pages.frame import Site
    from gpupool_web.proxy import add_proxy
    from gpupool_web.rest import Rest

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, public_url=settings.public_url)
    add_proxy(app, settings.api)
    rest = Rest(settings.api)
    site = Site(rest, Follower(rest), tickets)
    shown = (overview, devices, slices, one_slice, queue, tenants, reports, audit, users, settings_page, sign_in, password)
    for page in shown:
        page.add_page(site)
    ui.run_with(
        app,
        title="gpupool",
        storage_secret=cookie_secret(settings.folder),
        session_middleware_kwargs={"same_site": "lax"},
        show_welcome_message=False,
        tailwind=False,
    )
    return app


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {address}: {error.strerror}; choose another with --bind") from error
    listener.listen(128)
    return listener


def _announce(settings: WebSettings, listener: socket.socket, tickets: Tickets) -> None:
    host, port = listener.getsockname()[:2]
    addresses = {"http": f"{'https' if settings.tls else 'http'}://{Address(host, port)}"}
    if settings.admin_token_file and settings.bind.is_loopback:
        token = settings.admin_token_file.read_text("utf-8").strip()
        addresses["sign_in"] = f"{addresses['http']}/sign-in?ticket={tickets.issue(token)}"
    print(json.dumps({"message": "the web page is served", **addresses}), file=sys.stderr, flush=True)
    if settings.ready_file:
        draft = settings.ready_file.with_name(f".{settings.ready_file.name}.{os.getpid()}")
        draft.write_text(json.dumps(addresses), "utf-8")
        draft.replace(settings.ready_file)


@contextmanager
def _stopping_on_signals(server: uvicorn.Server) -> Iterator[None]:
    """Stop uvicorn on SIGTERM and SIGINT, without its habit of raising the signal again afterwards."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
