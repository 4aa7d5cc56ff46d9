"""The broker process: store, turns, control port, REST; from start to stop.

stand by (where asked for) ──right to write──> serve ──signal──> stop
      ▲                                          └── right lost ──┐
      └───────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import logging
import os
from importlib.metadata import version
from pathlib import Path

import zmq

from gpupool_broker.access.clock import SteadyClock
from gpupool_broker.access.desks import open_desks
from gpupool_broker.access.first_start import make_first
from gpupool_broker.access.oidc import Provider, read_settings
from gpupool_broker.access.settings import PLACEMENT
from gpupool_broker.api.app import make_app
from gpupool_broker.core.placement import POLICIES
from gpupool_broker.core.scheduling import Rules
from gpupool_broker.gateway import Gateway
from gpupool_broker.history import Recorder
from gpupool_broker.keys import curve_secret
from gpupool_broker.leases import LeaseSigner, first_lease_key
from gpupool_broker.logs import configure_logging
from gpupool_broker.reports.delivery import check_smtp
from gpupool_broker.reports.desk import Desk
from gpupool_broker.reports.orders import Place
from gpupool_broker.rest_server import RestServer
from gpupool_broker.service import Broker, wall_ms
from gpupool_broker.settings import BrokerSettings
from gpupool_broker.standby import wait_for_right
from gpupool_broker.store.databases import open_database, sqlite_url
from gpupool_broker.store.errors import JournalDamaged, RightLost
from gpupool_broker.store.fold_writer import FoldWriter
from gpupool_broker.store.reader import JournalReader
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.witness import Witness
from gpupool_wire.errors import UsageError

log = logging.getLogger(__name__)
#: Whoever repairs a journal needs to know where it begins to be wrong, and not every line of a disk that failed.
MAX_FAULTS = 100


def run_broker(settings: BrokerSettings) -> None:
    """Serve until SIGTERM or SIGINT, standing by before and in between where that is asked for.

    Raises GpupoolError where it cannot start: RightTaken where another broker serves from the database.
    """
    configure_logging(settings.log_level)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.folder.mkdir(mode=0o700, exist_ok=True)
    if settings.placement and settings.placement not in POLICIES:
        raise UsageError(f"there is no placement policy {settings.placement!r}; there are: {', '.join(POLICIES)}")
    database = open_database(database_url(settings))
    stands_by = settings.standby
    with RestServer(settings.http, settings.tls) as rest:
        while not rest.is_stopping:
            writer = wait_for_right(database, rest) if stands_by else None
            if stands_by and writer is None:
                break
            try:
                _serve(settings, SqlStore(database, writer), rest)
            except RightLost as error:
                # Whoever has it now serves. When it is free again, what was stored meanwhile is read anew.
                log.error("this broker serves no more: %s", error, extra={"action": "right_lost"})  # noqa: TRY400 - told, not a bug
                stands_by = True
    database.close()
    log.info("the broker has stopped", extra={"action": "stopped"})


def _serve(settings: BrokerSettings, store: SqlStore, rest: RestServer) -> None:
    """Serve from a store until told to stop. Raises RightLost where another broker may serve now."""
    with contextlib.ExitStack() as opened:
        opened.callback(store.close)
        clock = SteadyClock(wall_ms)
        provider = Provider(read_settings(settings.oidc), clock) if settings.oidc else None
        if provider:
            opened.callback(provider.close)
        desks = open_desks(store, clock, {PLACEMENT: settings.placement} if settings.placement else {}, provider)
        make_first(desks, settings.admin_token_file, settings.admin_password_file)
        opened.callback(desks.caretaker.stop)
        signer = LeaseSigner(store.key("lease", lambda: first_lease_key(settings.folder / "lease.key")))
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        opened.callback(context.term)
        secret = curve_secret(settings.folder / "curve.key") if settings.encrypt else b""
        gateway = Gateway(context, settings.bind, desks.tokens, "broker", secret)
        opened.callback(gateway.close)
        rules = Rules(min_runtime_ms=int(settings.min_runtime_s * 1000), notice_ms=int(settings.notice_s * 1000))
        policy = desks.settings.get(PLACEMENT)
        witness = Witness(desks.audit)
        every = settings.snapshot_every
        broker = Broker(store, gateway, signer, context, policy, rules, every, witness=witness, on_end=rest.end)
        opened.callback(broker.stop)
        desks.settings.tell(PLACEMENT, broker.follow)
        _spare_the_collector()
        broker.start()
        desks.caretaker.start()
        reports = _report_desk(settings, FoldWriter(store.database, store.writer))
        reports.start()
        opened.callback(reports.stop)
        recorder = Recorder(broker, settings.folder / "history.mpk")
        recorder.start()
        opened.callback(recorder.stop)
        _announce(settings, gateway.url, rest.url)
        rest.run(make_app(broker, store, desks, version("gpupool"), reports, recorder))
    if broker.failure is not None:
        raise broker.failure


def _report_desk(settings: BrokerSettings, folds: FoldWriter) -> Desk:
    place = Place(
        database=database_url(settings),
        folder=str(settings.report_folder or settings.home / "reports"),
        smtp=check_smtp(settings.smtp) if settings.smtp else "",
        mail_from=settings.mail_from,
    )
    return Desk(place, wall_ms, settings.report_every_s, folds, settings.keep_use_h * 3600)


def _spare_the_collector() -> None:
    """Keep Python's collector from what stays: passes over 100,000 slices would hold up turns by 100 ms and find nothing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


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


def _announce(settings: BrokerSettings, url: str, http: str) -> None:
    addresses = {"url": url, "http": http}
    log.info("the broker serves %(url)s and %(http)s", addresses, extra={"action": "ready"})
    if settings.ready_file:
        write_whole(settings.ready_file, json.dumps(addresses))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, "utf-8")
    draft.replace(path)
