"""A device in simulated time: the throttle, workers with their real permits, callers that load them, a channel with a delay.

    caller ──call──> worker ──Want, Settle──> (HOP_NS) ──> throttle ──Grant──> (HOP_NS) ──> worker ──executes──> caller

Shares are computed from the executions, not asked of the throttle.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from gpupool_agent import channel
from gpupool_agent.channel import Settle, ToAgent, Want
from gpupool_agent.core.throttle import Grant, Recall, Throttle, Wait
from gpupool_agent.permit import Permit
from gpupool_wire.units import Policy

MS = 1_000_000
S = 1_000 * MS
#: One way between agent and worker.
HOP_NS = 50_000

#: How long the next call takes, or the next pause (ns).
Length = Callable[[], int]


@dataclass(kw_only=True)
class Load:
    """What callers do to one slice: keep its queue full; or one call at a time, with a pause between; or as `arrivals` say."""

    call_ns: Length = lambda: MS
    pause_ns: Length | None = None
    #: (when, how long) of each call, in order of time.
    arrivals: Sequence[tuple[int, int]] | None = None


@dataclass(kw_only=True)
class Worker:
    """One slice's worker and its callers."""

    slice_id: str
    load: Load
    permit: Permit = field(default_factory=Permit)
    queue: deque[int] = field(default_factory=deque)
    #: Each call's delay between arriving and starting is measured from here.
    arrived_ns: deque[int] = field(default_factory=deque)
    delays_ns: list[int] = field(default_factory=list)
    executed_ns: int = 0
    is_dead: bool = False
    is_hung: bool = False
    is_stopped: bool = False


class Device:
    """Everything that happens on one device, event by event."""

    def __init__(self) -> None:
        self.throttle = Throttle()
        self.now_ns = 0
        self.workers: dict[str, Worker] = {}
        #: Slice, start and end, in order.
        self.executions: list[tuple[str, int, int]] = []
        #: Slice and quantum, in order.
        self.grants: list[tuple[str, int, int]] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake_ns = -1

    # ── for tests ──────

    def slice(self, slice_id: str, compute_pct: int, policy: Policy, load: Load) -> Worker:
        """Admit a slice, whose callers start at once."""
        self.throttle.add(slice_id, compute_pct=compute_pct, policy=policy, now_ns=self.now_ns)
        worker = self.workers[slice_id] = Worker(slice_id=slice_id, load=load)
        if load.arrivals is None:
            self._call(worker, load.call_ns())
        else:
            for when_ns, call_ns in load.arrivals:
                self.at(when_ns, lambda call_ns=call_ns: self._call(worker, call_ns))
        return worker

    def at(self, when_ns: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_ns, next(self._order), action))

    def run(self, until_ns: int) -> None:
        while self._events and self._events[0][0] <= until_ns:
            self.now_ns, _, action = heapq.heappop(self._events)
            action()
        self.now_ns = until_ns

    def used_ns(self, slice_id: str, since_ns: int = 0, until_ns: int | None = None) -> int:
        """Device time of a slice in a window."""
        until_ns = self.now_ns if until_ns is None else until_ns
        return sum(max(0, min(end, until_ns) - max(start, since_ns)) for who, start, end in self.executions if who == slice_id)

    def share_pct(self, slice_id: str, since_ns: int = 0, until_ns: int | None = None) -> float:
        until_ns = self.now_ns if until_ns is None else until_ns
        return 100 * self.used_ns(slice_id, since_ns, until_ns) / (until_ns - since_ns)

    def kill(self, slice_id: str) -> None:
        """The worker dies, and the agent reads the end of its channel; the slice's claim stays."""
        worker = self.workers[slice_id]
        worker.is_dead = True
        if self.executions and self.executions[-1][0] == slice_id:
            who, start, end = self.executions[-1]
            self.executions[-1] = (who, start, min(end, self.now_ns))
        holder = self.throttle.holder
        if holder is not None and holder[0] == slice_id:
            self.throttle.forfeit(*holder, self.now_ns)
        self.throttle.unwant(slice_id, self.now_ns)
        self._decide()

    # ── callers ──────

    def _call(self, worker: Worker, call_ns: int) -> None:
        if worker.is_dead or worker.is_stopped:
            return
        worker.queue.append(call_ns)
        worker.arrived_ns.append(self.now_ns)
        if not worker.permit.active and not worker.permit.waiting:
            self._start_or_wait(worker)

    def _call_again(self, worker: Worker) -> None:
        load = worker.load
        if load.arrivals is not None or worker.is_stopped:
            return
        if load.pause_ns is None:
            worker.queue.append(load.call_ns())
            worker.arrived_ns.append(self.now_ns)
        else:
            self.at(self.now_ns + load.pause_ns(), lambda: self._call(worker, load.call_ns()))

    # ── worker ──────

    def _start_or_wait(self, worker: Worker) -> None:
        if worker.permit.enter(self.now_ns):
            self._execute(worker)
        else:
            self._send(worker, worker.permit.wait(self.now_ns))

    def _execute(self, worker: Worker) -> None:
        if worker.is_hung:
            return
        call_ns = worker.queue.popleft()
        worker.delays_ns.append(self.now_ns - worker.arrived_ns.popleft())
        worker.executed_ns += call_ns
        self.executions.append((worker.slice_id, self.now_ns, self.now_ns + call_ns))
        self.at(self.now_ns + call_ns, lambda: self._executed(worker))

    def _executed(self, worker: Worker) -> None:
        if worker.is_dead:
            return
        self._call_again(worker)
        permit = worker.permit
        if worker.queue:
            # Another call is there already: it waits before this one leaves, as in a worker of several threads.
            self._send(worker, permit.wait(self.now_ns))
        self._send(worker, permit.leave(self.now_ns, None))
        if worker.queue and permit.enter(self.now_ns):
            permit.unwait()
            self._execute(worker)
        elif permit.is_held:
            self.at(max(self.now_ns, permit.kept_until_ns()), lambda: self._keep(worker))

    def _keep(self, worker: Worker) -> None:
        permit = worker.permit
        if permit.is_held and not permit.active and not worker.is_dead:
            self._send(worker, permit.tick(self.now_ns))

    def _granted(self, worker: Worker, grant: Grant) -> None:
        if worker.is_dead:
            return
        permit = worker.permit
        offered = channel.Grant(
            seq=grant.seq, quantum_ns=grant.quantum_ns, linger_ns=grant.linger_ns, patience_ns=grant.patience_ns
        )
        self._send(worker, permit.granted(offered, self.now_ns))
        if permit.waiting and permit.enter(self.now_ns):
            permit.unwait()
            self._execute(worker)

    def _recalled(self, worker: Worker, recall: Recall) -> None:
        if not worker.is_dead:
            self._send(worker, worker.permit.recalled(channel.Recall(seq=recall.seq, quantum_ns=recall.quantum_ns), self.now_ns))

    def _send(self, worker: Worker, messages: list[ToAgent]) -> None:
        for message in messages:
            self.at(self.now_ns + HOP_NS, lambda message=message: self._hear(worker, message))

    # ── agent ──────

    def _hear(self, worker: Worker, message: ToAgent) -> None:
        if worker.is_dead:
            return
        match message:
            case Want():
                self.throttle.want(worker.slice_id, self.now_ns)
            case Settle(seq=seq, used_ns=used_ns, more=more):
                self.throttle.settle(worker.slice_id, seq, used_ns=used_ns, wants=more, now_ns=self.now_ns)
        self._decide()

    def _decide(self) -> None:
        decision = self.throttle.next(self.now_ns)
        if isinstance(decision, Recall):
            recall = decision
            self.at(self.now_ns + HOP_NS, lambda: self._recalled(self.workers[recall.slice_id], recall))
            decision = self.throttle.next(self.now_ns)
        if isinstance(decision, Grant):
            grant = decision
            self.grants.append((grant.slice_id, self.now_ns, grant.quantum_ns))
            self.at(self.now_ns + HOP_NS, lambda: self._granted(self.workers[grant.slice_id], grant))
            decision = self.throttle.next(self.now_ns)
        assert not isinstance(decision, Grant), "the device was granted twice"
        if isinstance(decision, Wait):
            assert decision.until_ns > self.now_ns, "the throttle asks to be asked at once"
            if self._wake_ns <= self.now_ns or decision.until_ns < self._wake_ns:
                self._wake_ns = decision.until_ns
                self.at(decision.until_ns, self._woken)

    def _woken(self) -> None:
        holder = self.throttle.holder
        if holder is not None and self.workers[holder[0]].is_hung:
            # Its beat has stopped: the agent takes the quantum back when it is over.
            self.throttle.forfeit(*holder, self.now_ns)
        self._decide()

    # ── invariants ──────

    def check(self) -> None:
        """One execution at a time; what the throttle counted is what was executed; use and idle time make up the whole."""
        idle_ns, free_since_ns = 0, 0
        for _, start, end in self.executions:
            assert start >= free_since_ns, "two slices executed at once"
            idle_ns += start - free_since_ns
            free_since_ns = end
        used_ns = sum(worker.executed_ns for worker in self.workers.values() if not worker.is_dead)
        cut_ns = sum(end - start for who, start, end in self.executions if self.workers[who].is_dead)
        assert used_ns + cut_ns + idle_ns == free_since_ns
        for standing in self.throttle.snapshot(self.now_ns):
            worker = self.workers[standing.slice_id]
            out_ns = self.throttle.holder is not None and standing.slice_id == self.throttle.holder[0]
            if not (worker.is_dead or worker.is_hung or out_ns or self._has_settle_on_the_way()):
                assert standing.used_ns == worker.executed_ns

    def _has_settle_on_the_way(self) -> bool:
        return bool(self._events) and self._events[0][0] <= self.now_ns + HOP_NS


@pytest.fixture
def device() -> Iterator[Device]:
    """A device, whose books are checked when the test is over."""
    device = Device()
    yield device
    device.check()


@pytest.fixture
def new_device() -> Callable[[], Device]:
    """For tests that need several; they call `check` themselves."""
    return Device


@pytest.fixture
def load() -> type[Load]:
    return Load
