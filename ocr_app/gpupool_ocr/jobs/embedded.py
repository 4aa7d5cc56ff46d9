"""Jobs of one service, in its memory: what is used where no Redis is named."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from gpupool_ocr.jobs.board import KEEP_S, MAX_WAITING, QueueFull, Tell
from gpupool_ocr.jobs.job import Job, JobView, Outcome, Taken

#: Compressed pages that wait; decoded ones never do.
MAX_WAITING_BYTES = 512 << 20
#: Answers kept, however young.
MAX_KEPT = 10_000


@dataclass(slots=True)
class _Entry:
    job: Job
    content: bytes
    state: str = "waiting"
    outcome: Outcome | None = None
    done_at: float = 0.0
    deliveries: int = 0


class EmbeddedBoard:
    """A Board. Thread-safe."""

    def __init__(
        self, *, max_waiting: int = MAX_WAITING, keep_s: float = KEEP_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_waiting = max_waiting
        self._keep_s = keep_s
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: dict[str, _Entry] = {}
        self._queue: deque[str] = deque()
        self._bytes = 0
        self._by_key: dict[tuple[str, str], str] = {}
        self._done: OrderedDict[str, None] = OrderedDict()
        self._listeners: dict[str, list[Tell]] = defaultdict(list)

    def __repr__(self) -> str:
        return f"<EmbeddedBoard: {len(self._queue)} waiting, {len(self._done)} answers kept>"

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._queue)

    def submit(self, job: Job, content: bytes) -> str:
        """See Board."""
        with self._changed:
            self._forget_old()
            key = (job.tenant, job.idempotency_key or "")
            if job.idempotency_key and key in self._by_key:
                return self._by_key[key]
            if len(self._queue) >= self._max_waiting or self._bytes + len(content) > MAX_WAITING_BYTES:
                raise QueueFull(
                    f"{len(self._queue)} documents wait ({self._bytes >> 20} MiB); the limits are {self._max_waiting} and "
                    f"{MAX_WAITING_BYTES >> 20} MiB: try again later",
                    waiting=len(self._queue),
                )
            self._entries[job.id] = _Entry(job, content)
            if job.idempotency_key:
                self._by_key[key] = job.id
            self._bytes += len(content)
            self._queue.append(job.id)
            self._changed.notify()
        return job.id

    def take(self, wait_s: float) -> Taken | None:
        """See Board."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._queue), wait_s):
                return None
            entry = self._entries[self._queue.popleft()]
            self._bytes -= len(entry.content)
            entry.state, entry.deliveries = "working", entry.deliveries + 1
            return Taken(job=entry.job, content=entry.content, delivery=entry.deliveries)

    def renew(self, taken: Taken) -> None:
        """See Board. The workers live and die with this board."""

    def finish(self, taken: Taken, outcome: Outcome) -> bool:
        """See Board."""
        with self._changed:
            entry = self._entries.get(taken.job.id)
            if entry is None or entry.outcome is not None:
                return False
            entry.state, entry.outcome, entry.content, entry.done_at = "done", outcome, b"", self._clock()
            self._done[taken.job.id] = None
            listeners = self._listeners.pop(taken.job.id, [])
        for tell in listeners:
            tell(outcome)
        return True

    def give_back(self, taken: Taken) -> None:
        """See Board."""
        with self._changed:
            entry = self._entries.get(taken.job.id)
            if entry is not None and entry.state == "working":
                entry.state = "waiting"
                self._bytes += len(entry.content)
                self._queue.appendleft(taken.job.id)
                self._changed.notify()

    def find(self, job_id: str, tenant: str) -> JobView | None:
        """See Board."""
        with self._changed:
            entry = self._entries.get(job_id)
            if entry is None or entry.job.tenant != tenant:
                return None
            return JobView(job=entry.job, state=entry.state, outcome=entry.outcome)

    def listen(self, job_id: str, tell: Tell) -> Callable[[], None]:
        """See Board."""
        with self._changed:
            entry = self._entries.get(job_id)
            outcome = entry.outcome if entry else None
            if outcome is None:
                self._listeners[job_id].append(tell)
        if outcome is not None:
            tell(outcome)

        def stop() -> None:
            with self._changed:
                left = [listener for listener in self._listeners.pop(job_id, []) if listener is not tell]
                if left:
                    self._listeners[job_id] = left

        return stop

    def close(self) -> None:
        """See Board. There are no threads."""

    def _forget_old(self) -> None:
        now = self._clock()
        while self._done:
            job_id = next(iter(self._done))
            entry = self._entries[job_id]
            if len(self._done) <= MAX_KEPT and now - entry.done_at < self._keep_s:
                return
            del self._done[job_id], self._entries[job_id]
            if entry.job.idempotency_key:
                self._by_key.pop((entry.job.tenant, entry.job.idempotency_key), None)
