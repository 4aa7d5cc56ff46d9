"""Threads that take jobs off a board, have them read, and put the answers up.

take ──> read (renewed meanwhile) ──> finish, again and again until the board hears it
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gpupool_ocr.jobs.board import MAX_DELIVERIES, Board, QueueAway
from gpupool_ocr.jobs.job import Job, Outcome, Taken

_log = logging.getLogger(__name__)

#: A worker looks so often whether it shall stop.
TAKE_S = 0.5
#: How often the board hears that a job is being worked on.
RENEW_S = 1.0
#: Between two tries at a board that is away.
AWAY_S = 0.3
#: An answer waits so long for a board that is away; then another worker reads the page again.
FINISH_S = 120.0

#: Reads a job; never raises.
Reads = Callable[[Taken], Outcome]
#: Makes the answer to a job that killed too many workers.
Refuses = Callable[[Taken, str], Outcome]
#: Hears of every answer that was the first to its job.
Told = Callable[[Job, Outcome], None]


class Workers:
    """So many threads on one board, which may be changed while they work."""

    def __init__(
        self, board: Board, reads: Reads, refuses: Refuses, threads: int, *, told: Told = lambda job, outcome: None
    ) -> None:
        self._board = board
        self._told = told
        self._reads = reads
        self._refuses = refuses
        self._stopping = threading.Event()
        self._taken: dict[str, Taken] = {}
        self._lock = threading.Lock()
        self._wanted = threads
        self._threads: dict[int, threading.Thread] = {}
        self._renewer = threading.Thread(target=self._renew, name="ocr-renew", daemon=True)

    def __repr__(self) -> str:
        return f"<Workers: {len(self._taken)} of {self._wanted} at work>"

    @property
    def busy(self) -> int:
        """How many jobs are being read."""
        return len(self._taken)

    @property
    def threads(self) -> int:
        """How many jobs can be read at the same time."""
        return self._wanted

    def start(self) -> None:
        """Begin to take jobs."""
        self._renewer.start()
        self.resize(self._wanted)

    def resize(self, threads: int) -> None:
        """Take so many jobs at the same time from now on; a thread too many ends behind the job in its hands."""
        with self._lock:
            self._wanted = threads
            if not self._renewer.is_alive():
                return  # start() will
            for number in range(threads):
                if number not in self._threads:
                    thread = threading.Thread(target=self._run, args=(number,), name=f"ocr-page-{number}", daemon=True)
                    self._threads[number] = thread
                    thread.start()

    def stop(self, timeout_s: float) -> None:
        """Take no more jobs, and wait for those at work; what is not finished in time goes back to the board."""
        self._stopping.set()
        deadline = time.monotonic() + timeout_s
        with self._lock:
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left = list(self._taken.values())
        for taken in left:
            try:
                self._board.give_back(taken)
            except QueueAway:
                return  # another worker claims it when this one has been silent for long enough

    def _goes_on(self, number: int) -> bool:
        with self._lock:
            if number < self._wanted:
                return not self._stopping.is_set()
            del self._threads[number]
            return False

    def _run(self, number: int) -> None:
        while self._goes_on(number):
            try:
                taken = self._board.take(TAKE_S)
            except QueueAway:
                self._stopping.wait(AWAY_S)
                continue
            if taken is not None:
                self._work(taken)

    def _work(self, taken: Taken) -> None:
        with self._lock:
            self._taken[taken.job.id] = taken
        try:
            if taken.delivery > MAX_DELIVERIES:
                outcome = self._refuses(
                    taken, f"{taken.delivery - 1} workers died while they read this document: it is not tried again"
                )
            else:
                outcome = self._reads(taken)
            self._finish(taken, outcome)
        finally:
            with self._lock:
                self._taken.pop(taken.job.id, None)

    def _finish(self, taken: Taken, outcome: Outcome) -> None:
        deadline = time.monotonic() + FINISH_S
        while True:
            try:
                is_first = self._board.finish(taken, outcome)
            except QueueAway:
                if time.monotonic() > deadline:
                    _log.warning("the answer to job %s could not be told within %s s", taken.job.id, FINISH_S)
                    return
                time.sleep(AWAY_S)
                continue
            if is_first:
                self._told(taken.job, outcome)
            else:
                _log.info("job %s was answered by another worker", taken.job.id)
            return

    def _renew(self) -> None:
        while not self._stopping.wait(RENEW_S):
            with self._lock:
                present = list(self._taken.values())
            for taken in present:
                try:
                    self._board.renew(taken)
                except QueueAway:
                    break
