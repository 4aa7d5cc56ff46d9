"""One instance put together, started and stopped in order.

factory (slice or this host) ──> lanes, workshop ──> router <── rollouts ── snapshots
                                                       └── reader <── workers <── board <── routes
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from gpupool_ocr.cases.keeper import Keeper
from gpupool_ocr.engine.lanes import Lanes
from gpupool_ocr.engine.release import Workshop
from gpupool_ocr.engine.router import Router
from gpupool_ocr.jobs.board import Board
from gpupool_ocr.jobs.embedded import EmbeddedBoard
from gpupool_ocr.jobs.workers import Workers
from gpupool_ocr.local import LocalFactory
from gpupool_ocr.rollouts.following import Rollouts
from gpupool_ocr.rollouts.store import FolderStore, SnapshotStore
from gpupool_ocr.service.callbacks import Callbacks
from gpupool_ocr.service.heartbeats import Beat, BeatStore, Heartbeats, LocalBeats
from gpupool_ocr.service.metrics import Meters
from gpupool_ocr.service.parts import Parts
from gpupool_ocr.service.reader import Reader
from gpupool_ocr.service.redaction import shaper
from gpupool_ocr.service.request_log import RequestLog, open_file
from gpupool_ocr.service.settings import Settings
from gpupool_ocr.service.tenants import Tenants, read_tenants
from gpupool_ocr.sessions import SliceSource

#: A stop waits so long for the documents at work.
STOPPING_S = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stores:
    """What instances share."""

    board: Board
    snapshots: SnapshotStore
    beats: BeatStore


def open_stores(settings: Settings, instance: str) -> Stores:
    """Return what this instance shares with others: over Redis, or with nobody."""
    if settings.redis is None:
        return Stores(board=EmbeddedBoard(), snapshots=FolderStore(settings.folder), beats=LocalBeats())
    from gpupool_ocr.jobs.redis_board import RedisBoard
    from gpupool_ocr.jobs.redis_link import connect
    from gpupool_ocr.rollouts.redis_store import RedisBeats, RedisSnapshots

    link = connect(settings.redis)
    return Stores(board=RedisBoard(link, instance), snapshots=RedisSnapshots(link), beats=RedisBeats(link))


@contextmanager
def open_instance(settings: Settings, factory: SliceSource) -> Iterator[Parts]:
    """Hold a running instance. Models run where `factory` opens them. Raises UsageError, and what opening the snapshot raises."""
    settings.check()
    instance = f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"
    with ExitStack() as stack:
        stores = open_stores(settings, instance)
        stack.callback(stores.board.close)
        parts = _put_together(stack, settings, factory, stores, instance)
        _watch(parts)
        parts.rollouts.start()
        parts.workers.start()
        stack.callback(parts.workers.stop, STOPPING_S)
        parts.heartbeats.start()
        stack.callback(parts.heartbeats.stop)
        yield parts


def _put_together(stack: ExitStack, settings: Settings, factory: SliceSource, stores: Stores, instance: str) -> Parts:
    """Return the parts of an instance, none of them at work yet; `stack` closes them in the reverse order."""
    meters = Meters()
    device, workshop = _engine(stack, settings, factory, stores.board, meters)
    router = Router(workshop.retire)
    log = RequestLog(partial(open_file, settings.log) if settings.log else None, shapes=shaper(settings.rules()))
    stack.callback(log.close)
    keeper = Keeper(
        settings.cases or settings.folder / "cases",
        is_on=settings.cases is not None,
        retention=settings.retention(),
        redact=settings.cases_redact,
        counts=lambda reason, result: meters.cases.labels(reason, result).inc(),
    )
    stack.callback(keeper.close)
    reader = Reader(router=router, meters=meters, log=log, keeper=keeper, instance=instance, max_pages=settings.max_pages)
    stack.callback(reader.close)
    callbacks = Callbacks(settings.fetcher(), counts=lambda result: meters.callbacks.labels(result).inc())
    stack.callback(callbacks.close)
    workers = Workers(stores.board, reader.read, reader.refuse, settings.pages, told=callbacks.send)
    rollouts = Rollouts(stores.snapshots, workshop, router, resizes=lambda wanted: workers.resize(wanted or settings.pages))
    stack.callback(rollouts.stop)
    return Parts(
        instance=instance,
        board=stores.board,
        workers=workers,
        reader=reader,
        router=router,
        workshop=workshop,
        rollouts=rollouts,
        device=device,
        meters=meters,
        log=log,
        keeper=keeper,
        heartbeats=Heartbeats(stores.beats, lambda: _beat(instance, workers, router, rollouts, workshop)),
        fetcher=settings.fetcher(),
        tenants=Tenants(read_tenants(settings.tenants) if settings.tenants else None),
        wait_s=settings.wait_s,
    )


def _engine(stack: ExitStack, settings: Settings, factory: SliceSource, board: Board, meters: Meters) -> tuple[Lanes, Workshop]:
    """Return the lanes of the device, and what opens models and plug-ins."""

    def pages_wait() -> bool:
        return board.waiting > 0

    device = Lanes("gpu", settings.lanes, pages_wait=pages_wait, watcher=meters)
    stack.callback(device.close)
    cores = Lanes("host", settings.lanes, watcher=meters)
    stack.callback(cores.close)
    workshop = Workshop(gpu=factory, host=LocalFactory(), device=device, cores=cores, watcher=meters, pages_wait=pages_wait)
    stack.callback(workshop.close)
    return device, workshop


def _beat(instance: str, workers: Workers, router: Router, rollouts: Rollouts, workshop: Workshop) -> Beat:
    routing = router.routing
    releases = [release.number for release in (routing.active, routing.candidate) if release] if routing else []
    return Beat(
        instance=instance,
        host=socket.gethostname(),
        pid=os.getpid(),
        at=time.time(),
        threads=workers.threads,
        busy=workers.busy,
        releases=releases,
        problems=rollouts.problems,
        revision=rollouts.revision,
        slices=workshop.slices,
    )


def _watch(parts: Parts) -> None:
    watch = parts.meters.watch
    watch("jobs_waiting", "Documents that wait.", lambda: parts.board.waiting)
    watch("documents_at_work", "Documents that are being read.", lambda: parts.workers.busy)
    watch("calls_waiting", "Calls that wait for a lane of the device.", lambda: parts.device.waiting)
    watch("device_busy_seconds", "Time with a call on the device.", lambda: parts.device.busy_s, grows=True)
    watch("log_dropped", "Log records that were not written.", lambda: parts.log.dropped, grows=True)
    watch(
        "plugin_restarts", "Plug-in processes that had to be replaced.", lambda: sum(g.restarts for g in parts.workshop.plugins)
    )
    watch("ready", "1 while documents can be read.", lambda: float(parts.router.routing is not None))
    watch("release", "Number of the active snapshot.", lambda: routing.active.number if (routing := parts.router.routing) else 0)
    watch("candidate_percent", "Share of the candidate.", lambda: routing.percent if (routing := parts.router.routing) else 0)
