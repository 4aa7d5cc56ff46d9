"""Jobs that several services and workers share over Redis (6.2 or newer).

submit ──> hash + stream ──XREADGROUP──> worker ──renews (XCLAIM)──> finish ──PUBLISH──> whoever waits
                             └── silent for CLAIM_S: XAUTOCLAIM by another worker
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from gpupool_ocr.jobs import redis_scripts as scripts
from gpupool_ocr.jobs.board import KEEP_S, MAX_WAITING, QueueAway, QueueFull, Tell
from gpupool_ocr.jobs.job import Job, JobView, Outcome, Taken
from gpupool_ocr.jobs.redis_link import PREFIX, away

_log = logging.getLogger(__name__)

STREAM: Final = PREFIX + "jobs"
CHANNEL: Final = PREFIX + "done"
GROUP: Final = "workers"
#: A worker that has not renewed a job for so long is dead; five times the pace of renewals.
CLAIM_S: Final = 5.0
#: How often claims are looked for, and answers that were not heard of.
LOOK_S: Final = 0.5
KEEP_MS: Final = round(KEEP_S * 1000)


class RedisBoard:
    """A Board. Thread-safe."""

    def __init__(self, client: Any, instance: str, *, max_waiting: int = MAX_WAITING, claim_s: float = CLAIM_S) -> None:  # noqa: ANN401
        self._redis = client
        self._instance = instance
        self._max_waiting = max_waiting
        self._claim_ms = round(claim_s * 1000)
        self._listeners: dict[str, list[Tell]] = defaultdict(list)
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._waiting = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._hear, name="ocr-hear", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<RedisBoard of {self._instance}: {self._waiting} waiting, {len(self._listeners)} listened for>"

    @property
    def waiting(self) -> int:
        """How many jobs waited half a second ago."""
        return self._waiting

    def submit(self, job: Job, content: bytes) -> str:
        """See Board."""
        key = f"{PREFIX}key:{job.tenant}:{job.idempotency_key}" if job.idempotency_key else ""
        with away():
            arguments = (job.id, msgspec.json.encode(job), content, self._max_waiting, KEEP_MS)
            answer = self._redis.eval(scripts.SUBMIT, 3, _key(job.id), STREAM, key, *arguments)
        if isinstance(answer, int):
            why = f"{answer} documents wait or are read; the limit is {self._max_waiting}: try again later"
            raise QueueFull(why, waiting=answer)
        return str(answer.decode())

    def take(self, wait_s: float) -> Taken | None:
        """See Board."""
        deadline = time.monotonic() + wait_s
        while True:
            left = deadline - time.monotonic()
            with away():
                self._make_group()
                entries = self._claim() or self._read(min(max(left, 0.0), LOOK_S))
                for ticket, job_id, delivery in entries:
                    if taken := self._taken(ticket, job_id, delivery):
                        return taken
            if left <= 0:
                return None

    def renew(self, taken: Taken) -> None:
        """See Board."""
        with away():
            self._redis.eval(scripts.RENEW, 1, STREAM, GROUP, taken.ticket, self._instance)

    def finish(self, taken: Taken, outcome: Outcome) -> bool:
        """See Board."""
        job, by = taken.job, f"{self._instance} {taken.ticket} {taken.delivery}"
        arguments = (GROUP, taken.ticket, msgspec.json.encode(job), msgspec.msgpack.encode(outcome), by, KEEP_MS, CHANNEL, job.id)
        with away():
            return bool(self._redis.eval(scripts.FINISH, 2, _key(job.id), STREAM, *arguments))

    def give_back(self, taken: Taken) -> None:
        """See Board."""
        with away():
            self._redis.eval(scripts.GIVE_BACK, 1, STREAM, GROUP, taken.ticket, taken.job.id, self._instance)

    def find(self, job_id: str, tenant: str) -> JobView | None:
        """See Board."""
        with away():
            raw, state, outcome = self._redis.hmget(_key(job_id), "job", "state", "outcome")
        if raw is None:
            return None
        job = msgspec.json.decode(raw, type=Job)
        if job.tenant != tenant:
            return None
        return JobView(job=job, state=state.decode(), outcome=_outcome(outcome) if outcome else None)

    def listen(self, job_id: str, tell: Tell) -> Callable[[], None]:
        """See Board."""
        with self._lock:
            self._listeners[job_id].append(tell)
        with contextlib.suppress(QueueAway):  # the thread looks for it when Redis is back
            self._tell([job_id])  # it may be done already

        def stop() -> None:
            with self._lock:
                left = [listener for listener in self._listeners.pop(job_id, []) if listener is not tell]
                if left:
                    self._listeners[job_id] = left

        return stop

    def close(self) -> None:
        """See Board."""
        self._stopping.set()
        self._thread.join()
        self._redis.close()

    def _make_group(self) -> None:
        """Make the group where there is none: a new Redis, or one that started empty."""
        import redis

        now = time.monotonic()
        if now - self._looked_at < LOOK_S and self._looked_at:
            return
        try:
            self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _claim(self) -> list[tuple[str, str, int]]:
        """Return a job whose worker is silent, looking for one every LOOK_S."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at < LOOK_S:
                return []
            self._looked_at = now
        _, entries, *_ = self._redis.xautoclaim(STREAM, GROUP, self._instance, self._claim_ms, "0-0", count=1)
        claimed = []
        for ticket, fields in entries:
            if not fields:
                continue  # finished by whoever had it
            (pending,) = self._redis.xpending_range(STREAM, GROUP, ticket, ticket, 1) or ({"times_delivered": 1},)
            claimed.append((ticket.decode(), fields[b"id"].decode(), int(pending["times_delivered"])))
        return claimed

    def _read(self, wait_s: float) -> list[tuple[str, str, int]]:
        answer = self._redis.xreadgroup(GROUP, self._instance, {STREAM: ">"}, count=1, block=max(1, round(wait_s * 1000)))
        return [(ticket.decode(), fields[b"id"].decode(), 1) for _, entries in answer or [] for ticket, fields in entries]

    def _taken(self, ticket: str, job_id: str, delivery: int) -> Taken | None:
        raw, content, outcome = self._redis.hmget(_key(job_id), "job", "content", "outcome")
        if raw is None or content is None or outcome is not None:
            self._redis.xack(STREAM, GROUP, ticket)  # answered, or too old to be answered
            self._redis.xdel(STREAM, ticket)
            return None
        self._redis.hset(_key(job_id), "state", "working")
        return Taken(job=msgspec.json.decode(raw, type=Job), content=content, delivery=delivery, ticket=ticket)

    def _hear(self) -> None:
        """Tell listeners of what is published; what was missed is looked for every LOOK_S."""
        while not self._stopping.is_set():
            try:
                with away(), self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(CHANNEL)
                    self._hear_on(channel)
            except QueueAway as error:
                _log.info("%s", error.message)
                self._stopping.wait(LOOK_S)

    def _hear_on(self, channel: Any) -> None:  # noqa: ANN401 - redis-py has no usable types
        looked_at = 0.0
        while not self._stopping.is_set():
            message = channel.get_message(timeout=LOOK_S / 2)
            if message is not None and message["type"] == "message":
                self._tell([message["data"].decode()])
            now = time.monotonic()
            if now - looked_at >= LOOK_S:
                looked_at = now
                self._tell(list(self._listeners))
                self._count()

    def _count(self) -> None:
        import redis

        try:
            pending = self._redis.xpending(STREAM, GROUP)["pending"]
        except redis.ResponseError:
            pending = 0  # no group yet
        self._waiting = max(0, self._redis.xlen(STREAM) - pending)

    def _tell(self, job_ids: Iterable[str]) -> None:
        wanted = [job_id for job_id in job_ids if job_id in self._listeners]
        if not wanted:
            return
        with away(), self._redis.pipeline(transaction=False) as pipeline:
            for job_id in wanted:
                pipeline.hget(_key(job_id), "outcome")
            outcomes = pipeline.execute()
        for job_id, raw in zip(wanted, outcomes, strict=True):
            if raw is not None:
                with self._lock:
                    listeners = self._listeners.pop(job_id, [])
                for tell in listeners:
                    tell(_outcome(raw))


def _key(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def _outcome(raw: bytes) -> Outcome:
    return msgspec.msgpack.decode(raw, type=Outcome)
