"""The broker process: store, turns, control port, REST; from start to stop."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import uvicorn
import zmq
from fastapi import FastAPI

from gpupool_broker.api.app import make_app
from gpupool_broker.core.placement import DEFAULT_POLICY, POLICIES
from gpupool_broker.core.scheduling import Rules
from gpupool_broker.gateway import Gateway
from gpupool_broker.keys import curve_secret
from gpupool_broker.leases import LeaseSigner
from gpupool_broker.logs import configure_logging
from gpupool_broker.service import Broker, wall_ms
from gpupool_broker.settings import BrokerSettings
from gpupool_broker.store.databases import open_database, sqlite_url
from gpupool_broker.store.errors import JournalDamaged
from gpupool_broker.store.reader import JournalReader
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.tokens import ADMIN, TokenDesk
from gpupool_wire.addresses import Address
from gpupool_wire.errors import UsageError

log = logging.getLogger(__name__)
#: Whoever repairs a journal needs to know where it begins to be wrong, and not every line of a disk that failed.
MAX_FAULTS = 100
#: Requests in flight may take this long to end when the broker stops.
STOP_S = 3


def run_broker(settings: BrokerSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises GpupoolError where it cannot start."""
    configure_logging(settings.log_level)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.folder.mkdir(mode=0o700, exist_ok=True)
    policy = settings.placement or DEFAULT_POLICY
    if policy not in POLICIES:
        raise UsageError(f"there is no placement policy {policy!r}; there are: {', '.join(POLICIES)}")
    store = SqlStore(database_url(settings))
    desk = TokenDesk(store, wall_ms)
    _first_token(desk, settings)
    http = _listen(settings.http)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    secret = curve_secret(settings.folder / "curve.key") if settings.encrypt else b""
    gateway = Gateway(context, settings.bind, desk, "broker", secret)
    rules = Rules(min_runtime_ms=int(settings.min_runtime_s * 1000), notice_ms=int(settings.notice_s * 1000))
    broker = Broker(store, gateway, LeaseSigner.at(settings.folder / "lease.key"), context, policy, rules, settings.snapshot_every)
    app = make_app(broker, store, desk, version("gpupool"))
    server = uvicorn.Server(_http_config(app, settings))
    broker.start()
    _announce(settings, gateway.url, http)
    try:
        with _stopping_on_signals(server):
            server.run(sockets=[http])
    finally:
        broker.stop()
        gateway.close()
        context.term()
        store.close()
    log.info("the broker has stopped", extra={"action": "stopped"})


def database_url(settings: BrokerSettings) -> str:
    """Return where the journal is."""
    return settings.database or sqlite_url(settings.folder / "broker.sqlite")


def verify_journal(settings: BrokerSettings) -> int:
    """Check every record of the journal, also while a broker runs; return how many there are.

    Raises JournalDamaged, with the positions of what is damaged, where not all are as they were written.
    """
    database = open_database(database_url(settings))
    try:
        journal = JournalReader(database)
        found = list(itertools.islice(journal.faults(), MAX_FAULTS))
        for fault in found:
            print(fault.message)
        if found:
            more = "at least " if len(found) == MAX_FAULTS else ""
            positions = ", ".join(str(fault.details["seq"]) for fault in found)
            raise JournalDamaged(f"{more}{len(found)} records of the journal are damaged: {positions}")
        return journal.read_head().seq
    finally:
        database.close()


def _http_config(app: FastAPI, settings: BrokerSettings) -> uvicorn.Config:
    certificate, key = settings.tls or (None, None)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=STOP_S,
        lifespan="off",
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except OSError as error:
        raise UsageError(f"TLS cannot be served with {certificate} and {key}: {error}") from error
    return config


def _first_token(desk: TokenDesk, settings: BrokerSettings) -> None:
    """At the first start, make the admin's token; show it once, or write it where only its owner can read it."""
    if any(token.role == ADMIN for token in desk.list()):
        return
    _, secret = desk.issue(ADMIN, name="first admin")
    if settings.admin_token_file is None:
        print(f"The admin token, shown this once:\n\n    {secret}\n\nUse it as GPUPOOL_TOKEN.", flush=True)
        return
    descriptor = os.open(settings.admin_token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {address}: {error.strerror}; choose another with --http") from error
    # Listening before it is announced: who reads the ready file may connect at once.
    listener.listen(512)
    return listener


def _announce(settings: BrokerSettings, url: str, http: socket.socket) -> None:
    host, port = http.getsockname()[:2]
    addresses = {"url": url, "http": f"{'https' if settings.tls else 'http'}://{Address(host, port)}"}
    log.info("the broker serves %(url)s and %(http)s", addresses, extra={"action": "ready"})
    if settings.ready_file:
        write_whole(settings.ready_file, json.dumps(addresses))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, "utf-8")
    draft.replace(path)


@contextlib.contextmanager
def _stopping_on_signals(server: uvicorn.Server) -> Iterator[None]:
    """Stop uvicorn on SIGTERM and SIGINT, without its habit of raising the signal again afterwards."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stdout.flush()
