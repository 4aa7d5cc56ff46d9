"""From a document to its answer, as the event loop sees it.

submit ──board away: again, until the caller's patience ends──> listen ──outcome, in a worker's thread──> awaited here
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass

from gpupool_ocr.jobs.board import Board, QueueAway
from gpupool_ocr.jobs.job import Job, JobView, Outcome
from gpupool_ocr.service.intake import Document
from gpupool_ocr.service.tenants import Caller

#: Between two tries at a board that is away.
AWAY_S = 0.25
#: A board that forgets (a Redis that starts empty) is asked again about each job after so long.
LOOK_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What is to become of a document."""

    bid: str
    tid: str
    callback: str | None = None
    idempotency_key: str | None = None
    keep: bool = True


def make_job(caller: Caller, document: Document, wish: Wish, trace: str) -> Job:
    """Return a new job."""
    return Job(
        id=uuid.uuid4().hex,
        tenant=caller.tenant,
        bid=wish.bid,
        tid=wish.tid,
        name=document.name,
        trace=trace,
        submitted=time.time(),
        callback=wish.callback,
        idempotency_key=wish.idempotency_key,
        keep=wish.keep and caller.spec.keeps_cases,
    )


async def submit(board: Board, job: Job, content: bytes, patience_s: float) -> str:
    """Put a job up, trying again while the board is away. Raises QueueFull, QueueAway."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return await asyncio.to_thread(board.submit, job, content)
        except QueueAway:
            if time.monotonic() + AWAY_S > deadline:
                raise
            await asyncio.sleep(AWAY_S)


async def outcome_of(board: Board, job_id: str, job: Job, content: bytes, patience_s: float) -> Outcome | None:
    """Wait for the answer to a job that was put up as `job_id`; None where it did not come in time.

    Where the board has forgotten the job, it is put up again: its sender still waits for it.
    """
    loop, deadline = asyncio.get_running_loop(), time.monotonic() + patience_s
    answered: asyncio.Future[Outcome] = loop.create_future()

    def settle(outcome: Outcome) -> None:
        if not answered.done():
            answered.set_result(outcome)

    def tell(outcome: Outcome) -> None:
        loop.call_soon_threadsafe(settle, outcome)

    stop = await asyncio.to_thread(board.listen, job_id, tell)
    try:
        while (left := deadline - time.monotonic()) > 0:
            done, _ = await asyncio.wait([answered], timeout=min(left, LOOK_S))
            if done:
                return answered.result()
            await _look(board, job_id, job, content)
    finally:
        stop()
    return None


async def _look(board: Board, job_id: str, job: Job, content: bytes) -> None:
    try:
        if await asyncio.to_thread(board.find, job_id, job.tenant) is None and job_id == job.id:
            await asyncio.to_thread(board.submit, job, content)
    except QueueAway:
        pass  # it may be back before the caller's patience ends


async def find(board: Board, job_id: str, caller: Caller) -> JobView | None:
    """Return a job of the caller's."""
    return await asyncio.to_thread(board.find, job_id, caller.tenant)
