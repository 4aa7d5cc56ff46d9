"""What the routes of a service share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from gpupool_ocr.cases.keeper import Keeper
from gpupool_ocr.engine.lanes import Lanes
from gpupool_ocr.engine.release import Workshop
from gpupool_ocr.engine.router import Router
from gpupool_ocr.jobs.board import Board
from gpupool_ocr.jobs.workers import Workers
from gpupool_ocr.rollouts.following import Rollouts
from gpupool_ocr.service.fetching import Fetcher
from gpupool_ocr.service.heartbeats import Heartbeats
from gpupool_ocr.service.metrics import Meters
from gpupool_ocr.service.reader import Reader
from gpupool_ocr.service.request_log import RequestLog
from gpupool_ocr.service.tenants import Tenants


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Everything one instance is made of."""

    instance: str
    board: Board
    workers: Workers
    reader: Reader
    router: Router
    workshop: Workshop
    rollouts: Rollouts
    device: Lanes
    meters: Meters
    log: RequestLog
    keeper: Keeper
    heartbeats: Heartbeats
    fetcher: Fetcher = field(default_factory=Fetcher)
    tenants: Tenants = field(default_factory=Tenants)
    #: Callers wait so long for an answer (seconds).
    wait_s: float = 60.0
    #: Documents read line by line at the same time; made in the event loop.
    streams: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
