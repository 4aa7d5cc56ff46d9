"""Answers sent to the addresses callers named, with the same care as pages fetched from them.

worker ──outcome──> Callbacks ──POST, some tries──> caller
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from gpupool_ocr.jobs.job import Job, Outcome
from gpupool_ocr.service.fetching import Fetcher
from gpupool_wire.errors import GpupoolError

_log = logging.getLogger(__name__)

#: Waits before each try (seconds).
TRIES_S = (0.0, 1.0, 5.0, 25.0)
#: Answers under way; more are given up with a word in the log.
MAX_UNDER_WAY = 1_000


class Callbacks:
    """Posts outcomes from a loop of its own. Thread-safe."""

    def __init__(self, fetcher: Fetcher, *, counts: Callable[[str], None] = lambda result: None) -> None:
        self._fetcher = fetcher
        self._counts = counts
        self._loop = asyncio.new_event_loop()
        self._under_way = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="ocr-callbacks", daemon=True)
        self._thread.start()

    def send(self, job: Job, outcome: Outcome) -> None:
        """Post an outcome to the job's address, if it has one. Never waits."""
        if job.callback is None:
            return
        if self._under_way >= MAX_UNDER_WAY:
            self._counts("dropped")
            return
        self._under_way += 1
        asyncio.run_coroutine_threadsafe(self._deliver(job, job.callback, outcome), self._loop)

    def close(self) -> None:
        """End the loop; what is under way is given up."""

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _deliver(self, job: Job, url: str, outcome: Outcome) -> None:
        headers = {"Content-Type": "application/json", "X-Gpupool-Job": job.id, "X-Gpupool-Status": str(outcome.status)}
        try:
            for wait_s in TRIES_S:
                await asyncio.sleep(wait_s)
                try:
                    await self._fetcher.post(url, outcome.body, headers)
                except GpupoolError as error:
                    _log.info("the answer to job %s could not be sent: %s", job.id, error.message)
                else:
                    self._counts("sent")
                    return
            self._counts("failed")
        finally:
            self._under_way -= 1
