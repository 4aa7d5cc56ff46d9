"""The one shell around the core.

control port ─┐                                     ┌─> control port
REST ─────────┼─> turn: handle ─> apply ─> commit ──┼─> agents (Assign, Revoke)
time ─────────┘        (all waiting events, once)   └─> REST

A turn takes everything that waits, commits once, then answers all. A commit that fails answers everybody with the error and
rebuilds the memory from the store: nobody was told anything that is not stored.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import zmq

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.placement import DEFAULT_POLICY, Placer
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.scheduling import Rules
from gpupool_broker.core.state import Node, Slice
from gpupool_broker.gateway import Gateway
from gpupool_broker.leases import LeaseSigner
from gpupool_broker.recovery import SNAPSHOT_EVERY, Recovery
from gpupool_broker.store.errors import RightLost, StoreFailed
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.tally import Tally
from gpupool_broker.telling import Teller
from gpupool_broker.witness import Witness
from gpupool_wire.errors import PoolUnreachable

log = logging.getLogger(__name__)
T = TypeVar("T")

#: How often time is looked at while nothing arrives. Well below the shortest limit it serves (2.5 s).
TICK_MS = 100
#: Ids that are drawn at once.
IDS_DRAWN = 256
#: Decisions that time alone brings in one turn; what is left comes in the next.
TURN_DECISIONS = 10_000
#: How often a broker to which nothing happens makes sure that it may still serve.
CHECK_S = 1.0
#: Longer between two turns than this and the broker itself was away: nobody else is called silent for it.
STALL_S = 1.0
#: Facts that come all the time and change nobody's place.
QUIET = frozenset({f.SliceUsed, f.DevicePowered})


class Broker:
    """Owns the pool, the store and the control port; everything that touches them runs on its thread."""

    def __init__(
        self,
        store: SqlStore,
        gateway: Gateway,
        signer: LeaseSigner,
        context: zmq.Context[zmq.Socket[bytes]],
        policy: str = DEFAULT_POLICY,
        rules: Rules | None = None,
        snapshot_every: int = SNAPSHOT_EVERY,
        *,
        witness: Witness,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`witness` sees what comes over the wire. `on_end` is called, on the turns' thread, when it takes no more turns."""
        self._store = store
        self._policy = policy
        self._rules = rules or Rules()
        self._gateway = gateway
        self._teller = Teller(gateway, signer)
        self._witness = witness
        self._recovery = Recovery(store, snapshot_every)
        self.pool = self._restored()
        self._jobs: queue.SimpleQueue[Callable[[list[e.Event]], None]] = queue.SimpleQueue()
        self._context = context
        self._wake_address = f"inproc://broker-{uuid.uuid4().hex}"
        self._wake_in = context.socket(zmq.PULL)
        self._wake_in.bind(self._wake_address)
        self._wake_lock = threading.Lock()
        self._wake_out = context.socket(zmq.PUSH)
        self._wake_out.connect(self._wake_address)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker-turns", daemon=True)
        self.turns = 0
        #: Counts what changed in the pool, usage aside; another number after every start, so that a restart is a change too.
        self.changes = wall_ms()
        self._waiting = 0
        self.tally = Tally()
        self._on_end = on_end
        self._checked_at = time.monotonic()
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin to take turns."""
        self._thread.start()

    def stop(self) -> None:
        """Take the last turn and stop."""
        self._stop.set()
        self._wake()
        self._thread.join(5)
        self._wake_out.close(0)
        self._dismiss()
        if not self._thread.is_alive() and self.failure is None:
            self._recovery.finish(self.pool)

    def _dismiss(self) -> None:
        """Let nobody wait for an answer that does not come: whoever waits over REST would keep the process from ending."""
        error = PoolUnreachable("the broker ends while this request waits: ask again with the same request id")
        for waiting in list(self.pool.waiting):
            caller = waiting.event.caller
            if isinstance(caller, Future) and not caller.done():
                caller.set_exception(error)

    @property
    def is_serving(self) -> bool:
        """Whether turns are taken."""
        return self._thread.is_alive()

    # ── for other threads ──────

    def ask(self, make: Callable[[e.Caller, int, int], e.Event], timeout_s: float = 30.0) -> Any:  # noqa: ANN401
        """Have the core handle an event; return the slice, node or tenant it answers with, or raise the error it answers with.

        `make` gets the caller, the monotonic and the wall time in milliseconds.
        """
        future: Future[Slice | Node | str] = Future()

        def job(events: list[e.Event]) -> None:
            try:
                events.append(make(future, _now_ms(), wall_ms()))
            except Exception as error:  # noqa: BLE001 - whoever asks badly is told; the turns go on for everybody else
                future.set_exception(error)

        self._post(job)
        return future.result(timeout_s)

    def read(self, look: Callable[[Pool], T], timeout_s: float = 30.0) -> T:
        """Return what `look` makes of the pool, between two turns."""
        future: Future[T] = Future()

        def job(_events: list[e.Event]) -> None:
            try:
                future.set_result(look(self.pool))
            except Exception as error:  # noqa: BLE001 - as above: looking changes nothing
                future.set_exception(error)

        self._post(job)
        return future.result(timeout_s)

    def follow(self, policy: str) -> None:
        """Choose devices by another policy, from the next request on."""

        def look(pool: Pool) -> None:
            self._policy = policy
            pool.placer.follow(policy)

        self.read(look)

    def _post(self, job: Callable[[list[e.Event]], None]) -> None:
        if self.failure is not None:
            raise PoolUnreachable(f"this broker serves no more: {self.failure}") from self.failure
        self._jobs.put(job)
        self._wake()

    def _wake(self) -> None:
        # Nobody reads it any more where the turns have ended by themselves.
        with self._wake_lock, suppress(zmq.Again):
            self._wake_out.send(b"", zmq.NOBLOCK)

    # ── the turn ──────

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._gateway.socket, zmq.POLLIN)
        poller.register(self._wake_in, zmq.POLLIN)
        last = time.monotonic()
        try:
            while not self._stop.is_set():
                poller.poll(TICK_MS)
                stalled = time.monotonic() - last > STALL_S
                self._turn(stalled)
                last = time.monotonic()
        except RightLost as error:
            self.failure = error
        except BaseException as error:
            self.failure = error
            log.exception("the broker stops", extra={"action": "broker_failed"})
        finally:
            self._wake_in.close(0)
            self._on_end()

    def _turn(self, stalled: bool = False) -> None:
        """Handle all that waits, commit once, then tell."""
        now_ms, at_ms = _now_ms(), wall_ms()
        facts: list[f.Fact] = []
        effects: list[e.Effect] = []
        if stalled:
            self._decide(e.Restarted(now_ms=now_ms, at_ms=at_ms), facts, effects)
        for event in self._gateway.receive(now_ms, at_ms):
            self._witness.look(event, self.pool)
            self._decide(event, facts, effects)
        for event in self._posted():
            self._decide(event, facts, effects)
        tick = e.Ticked(now_ms=now_ms, at_ms=at_ms)
        for _ in range(TURN_DECISIONS):
            if not self._decide(tick, facts, effects):
                break
        try:
            self._commit(facts)
        except RightLost as error:
            self._leave_unanswered(error, effects)
            raise
        except StoreFailed as error:
            self._roll_back(error, effects)
        else:
            self.tally.take(facts, self.pool)
            for effect in effects:
                self._teller.perform(effect, self.pool)
                self._witness.told(effect, self.pool)
            self.changes += sum(type(fact) not in QUIET for fact in facts) + self._has_queue_moved()
            self._recovery.consider(self.pool)
        self.turns += 1

    def _has_queue_moved(self) -> bool:
        """Whether requests came to wait, or left the queue without any fact."""
        before, self._waiting = self._waiting, len(self.pool.waiting)
        return before != self._waiting

    def _commit(self, facts: list[f.Fact]) -> None:
        """Store what happened; where nothing did, look now and then whether it could be stored."""
        now = time.monotonic()
        if facts:
            self._store.append(facts)
        elif now - self._checked_at >= CHECK_S:
            self._store.writer.check()
        else:
            return
        self._checked_at = now

    def _leave_unanswered(self, error: RightLost, effects: Iterable[e.Effect]) -> None:
        """Whether this turn was stored nobody here knows: who asked over the wire asks the next broker, which does."""
        for effect in effects:
            caller = getattr(effect, "caller", None)
            if isinstance(caller, Future) and not caller.done():
                caller.set_exception(error)

    def _posted(self) -> list[e.Event]:
        events: list[e.Event] = []
        while True:
            try:
                self._wake_in.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
        while not self._jobs.empty():
            self._jobs.get()(events)
        return events

    def _decide(self, event: e.Event, facts: list[f.Fact], effects: list[e.Effect]) -> bool:
        """Handle one event and apply its facts; return whether there were any."""
        new_facts, new_effects = self.pool.handle(event)
        for fact in new_facts:
            self.pool.apply(fact)
        facts += new_facts
        effects += new_effects
        return bool(new_facts)

    def _roll_back(self, error: StoreFailed, effects: Iterable[e.Effect]) -> None:
        log.error("nothing of this turn was stored: %s", error, extra={"action": "commit_failed"})
        known = self.pool
        try:
            self.pool = self._restored(is_start=False)
        except StoreFailed:
            # The store does not even give what it has: keep the memory, and keep refusing until it does.
            self.pool = known
            log.exception("the store cannot be read", extra={"action": "store_unreadable"})
        self.pool.waiting, self.pool.shrinks, self.pool.claim = known.waiting, known.shrinks, known.claim
        for effect in effects:
            caller = getattr(effect, "caller", None)
            if caller is not None:
                self._teller.perform(e.AnswerError(caller=caller, error=error), self.pool)

    def _restored(self, *, is_start: bool = True) -> Pool:
        pool = Pool(new_ids(), Placer(self._policy), self._rules)
        self._recovery.restore(pool, is_start=is_start)
        pool.handle(e.Restarted(now_ms=_now_ms(), at_ms=wall_ms()))
        return pool


def new_ids() -> Callable[[], str]:
    """Return a source of ends for ids, 48 random bits each. It asks the system for many at once: asking costs 10 µs."""
    drawn: list[str] = []

    def new_id() -> str:
        if not drawn:
            pool = os.urandom(6 * IDS_DRAWN).hex()
            drawn.extend(pool[at : at + 12] for at in range(0, len(pool), 12))
        return f"-{drawn.pop()}"

    return new_id


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """Return the wall clock, for what is written down."""
    return time.time_ns() // 1_000_000
