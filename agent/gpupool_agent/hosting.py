"""Slices and their workers: who is let in, which process serves them, what its end means.

    door ──Knock──> knock ──start──> worker ──Ready──> let in: Admit to the worker, LinkOpened to the client
    table ──effects──> perform: stop, change, let in whom the broker has confirmed
    worker ──LinkGone, Use, Refused, the end of its channel──> heard ──> table, usage book

A worker is started by the first link to its slice and stopped when it has had no link for IDLE_NS; the slice itself stays.
Runs in the agent's loop alone; the time is an argument.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gpupool_agent.channel import (
    Admit,
    Before,
    Change,
    Changed,
    ChannelClosed,
    Fault,
    LinkGone,
    News,
    Ready,
    Refused,
    ToAgent,
    Use,
)
from gpupool_agent.claims import Claims
from gpupool_agent.core.slices import Admitted, ChangeWorker, Confirmed, Effect, SliceTable, StopWorker
from gpupool_agent.core.totals import Totals, Used
from gpupool_agent.core.usage import Holds, UsageBook
from gpupool_agent.door import Knock
from gpupool_agent.inventory import Offer
from gpupool_agent.lodging import Lodging
from gpupool_agent.supervisor import Supervisor, WorkerProcess
from gpupool_agent.turns import DeviceTurns
from gpupool_wire.errors import ErrorInfo, GpupoolError, LimitExceeded, WorkerLost
from gpupool_wire.messages import Assignment, DoorToClient, Failed, Lease, LinkOpened, Shrink, Shrunk

log = logging.getLogger(__name__)

#: A worker without links is kept this long for the next one: opening models again costs more than the memory it holds.
IDLE_NS = 30_000_000_000
#: A worker imports and binds within a second; a loaded machine may take a while, a stuck one not for ever.
START_NS = 30_000_000_000
#: Clients that may wait for one worker to start.
MAX_WAITING = 256
TICKET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A client that waits at the door."""

    peer: bytes
    link_id: str
    holder: bool


@dataclass(slots=True, kw_only=True)
class _Hosted:
    """A slice with a worker."""

    assignment: Assignment
    worker: WorkerProcess
    is_confirmed: bool
    ready: Ready | None = None
    waiting: list[_Waiting] = field(default_factory=list)
    #: The memory limit the worker keeps to; the number of its newest change; the shrink it has yet to answer.
    memory_mib: int
    change_seq: int = 0
    shrinking: Shrink | None = None
    #: It was told what the slice had used before it.
    knows_before: bool = False
    #: Since when it has had no link.
    idle_since_ns: int | None = None


class Hosting:
    """The slices of this node that have a worker."""

    def __init__(
        self,
        lodging: Lodging,
        offers: Mapping[str, Offer],
        table: SliceTable,
        book: UsageBook,
        supervisor: Supervisor,
        turns: Mapping[str, DeviceTurns],
        answer: Callable[[bytes, DoorToClient], None],
        tell_broker: Callable[[Shrunk], None],
    ) -> None:
        self._lodging = lodging
        self._offers = offers
        self._table = table
        self._book = book
        self._supervisor = supervisor
        self._turns = turns
        self._answer = answer
        self._tell_broker = tell_broker
        self._changes = 0
        self._hosted: dict[str, _Hosted] = {}
        #: What slices have used since they were granted.
        self.totals = Totals()
        self._claims = Claims(turns)
        self.starts = 0
        self.deaths = 0

    def __repr__(self) -> str:
        return f"<Hosting: {len(self._hosted)} workers, {len(self._table)} slices>"

    def __len__(self) -> int:
        return len(self._hosted)

    # ── the door ──────

    def knock(self, knock: Knock, lease: Lease, now_ns: int) -> None:
        """Let a client with a good signature in, once its worker serves and the broker has confirmed the slice; or refuse it."""
        try:
            admitted = self._table.admit(lease, now_ns)
            hosted = self._hosted.get(lease.slice_id) or self._start(admitted, now_ns)
            if len(hosted.waiting) >= MAX_WAITING:
                raise LimitExceeded(f"{len(hosted.waiting)} clients wait for slice {lease.slice_id} already: try again")
            waiting = _Waiting(peer=knock.peer, link_id=secrets.token_hex(8), holder=knock.request.holder)
            self._table.open_link(lease.slice_id, waiting.link_id, holder=waiting.holder)
        except GpupoolError as error:
            self._answer(knock.peer, Failed(error=error.to_info()))
            log.info("a link to slice %s is refused: %s", lease.slice_id, error, extra={"action": "link_refused"})
            return
        hosted.idle_since_ns = None
        hosted.waiting.append(waiting)
        self._let_in(hosted, now_ns)

    def _start(self, admitted: Admitted, now_ns: int) -> _Hosted:
        assignment = admitted.assignment
        offer = self._offers[assignment.device]
        worker = self._supervisor.start(self._lodging.start_of(assignment, offer), offer.environment, now_ns)
        worker.epoch = assignment.epoch
        hosted = _Hosted(assignment=assignment, worker=worker, is_confirmed=admitted.confirmed, memory_mib=assignment.memory_mib)
        self._hosted[assignment.slice_id] = hosted
        self._turns[assignment.device].watch(worker)
        if admitted.confirmed:
            self._claims.begin(assignment)
        self.starts += 1
        _tell(logging.INFO, "worker_started", worker, f"on {assignment.device}")
        return hosted

    def _let_in(self, hosted: _Hosted, now_ns: int) -> None:
        if hosted.ready is None or not hosted.is_confirmed:
            return
        if not hosted.knows_before:
            hosted.knows_before = True
            with contextlib.suppress(ChannelClosed):  # its end is on the way to `heard`
                hosted.worker.end.send(Before(**self.totals.of(hosted.assignment.slice_id)._asdict()))
        waiting, hosted.waiting = hosted.waiting, []
        for client in waiting:
            ticket = secrets.token_bytes(TICKET_BYTES)
            try:
                is_sent = hosted.worker.end.send(Admit(ticket=ticket, link_id=client.link_id, holder=client.holder))
            except ChannelClosed:
                is_sent = False
            if not is_sent:
                self._turn_away(hosted, client, WorkerLost("the slice's worker does not answer: try again").to_info(), now_ns)
                continue
            opened = LinkOpened(worker=hosted.ready.address, ticket=ticket, link_id=client.link_id)
            self._answer(client.peer, opened)

    def _turn_away(self, hosted: _Hosted, client: _Waiting, error: ErrorInfo, now_ns: int) -> None:
        self._table.close_link(hosted.assignment.slice_id, client.link_id, now_ns, left=True)
        self._answer(client.peer, Failed(error=error))

    # ── the table's effects ──────

    def perform(self, effects: Iterable[Effect], now_ns: int) -> None:
        """Do what the table wants done."""
        for effect in effects:
            match effect:
                case StopWorker(slice_id=slice_id, error=error):
                    self._claims.end(slice_id)
                    self.totals.end(slice_id)
                    self._stop(slice_id, error, now_ns)
                case ChangeWorker(assignment=assignment):
                    self._change(assignment)
                case Confirmed(assignment=assignment):
                    before = Used(assignment.device_ns, assignment.throttled_ns, assignment.calls)
                    self.totals.begin(assignment.slice_id, before)
                    self._confirmed(assignment, now_ns)

    def _stop(self, slice_id: str, error: ErrorInfo | None, now_ns: int) -> None:
        if (hosted := self._hosted.pop(slice_id, None)) is None:
            return
        for client in hosted.waiting:
            self._answer(client.peer, Failed(error=error or WorkerLost().to_info()))
        self._supervisor.stop(hosted.worker, error, now_ns)
        _tell(logging.INFO, "worker_stopped", hosted.worker, error.message if error else "nobody uses it")

    def _change(self, assignment: Assignment) -> None:
        self._claims.change(assignment)
        if (hosted := self._hosted.get(assignment.slice_id)) is None:
            return
        before = hosted.assignment
        self._take_over(hosted, assignment)
        if (before.is_paused, before.notice) != (assignment.is_paused, assignment.notice):
            news = News(is_paused=assignment.is_paused, notice=assignment.notice, notice_ms=assignment.notice_ms)
            with contextlib.suppress(ChannelClosed):  # its end is on the way to `heard`
                hosted.worker.end.send(news)
        hosted.memory_mib = assignment.memory_mib
        self._send_change(hosted, hosted.memory_mib)

    def shrink(self, asked: Shrink) -> None:
        """Have a slice do with less memory, and tell the broker whether it does; without a worker it uses none."""
        hosted = self._hosted.get(asked.slice_id)
        if hosted is None:
            self._tell_broker(Shrunk(slice_id=asked.slice_id, request_id=asked.request_id))
            return
        self._send_change(hosted, asked.memory_mib, asked.deadline_ms)
        hosted.shrinking = asked

    def restate(self, slice_ids: Iterable[str]) -> None:
        """Tell workers that have shrunk ahead of the broker's word what its word is: it may have come to nothing."""
        for slice_id in slice_ids:
            hosted = self._hosted.get(slice_id)
            if hosted is not None and hosted.shrinking is None and hosted.memory_mib != hosted.assignment.memory_mib:
                hosted.memory_mib = hosted.assignment.memory_mib
                self._send_change(hosted, hosted.memory_mib)

    def _send_change(self, hosted: _Hosted, memory_mib: int, deadline_ms: int = 0) -> None:
        self._changes += 1
        hosted.shrinking = None
        change = Change(
            compute_pct=hosted.assignment.compute_pct, memory_mib=memory_mib, deadline_ms=deadline_ms, seq=self._changes
        )
        hosted.change_seq = self._changes
        with contextlib.suppress(ChannelClosed):  # its end is on the way to `heard`
            hosted.worker.end.send(change)

    def _shrunk(self, hosted: _Hosted | None, seq: int | None, error: ErrorInfo | None = None) -> None:
        """A worker has answered its newest change, or has died, which frees all it held."""
        if hosted is None or hosted.shrinking is None or seq not in (None, hosted.change_seq):
            return
        asked, hosted.shrinking = hosted.shrinking, None
        if error is None:
            hosted.memory_mib = asked.memory_mib
        self._tell_broker(Shrunk(slice_id=asked.slice_id, request_id=asked.request_id, error=error))

    @staticmethod
    def _take_over(hosted: _Hosted, assignment: Assignment) -> None:
        hosted.assignment = assignment
        hosted.worker.epoch = assignment.epoch

    def _confirmed(self, assignment: Assignment, now_ns: int) -> None:
        hosted = self._hosted.get(assignment.slice_id)
        if hosted is not None and not hosted.is_confirmed:
            hosted.is_confirmed = True
            self._take_over(hosted, assignment)
            self._claims.begin(assignment)
            self._let_in(hosted, now_ns)

    # ── workers ──────

    def heard(self, worker: WorkerProcess, message: ToAgent | None, now_ns: int) -> None:
        """Take note of what a worker says; None is the end of its channel. One that was stopped still has its last words."""
        hosted = self._hosted.get(worker.slice_id)
        if hosted is not None and hosted.worker is not worker:
            hosted = None
        match message:
            case None:
                self._ended(worker, hosted, now_ns)
            case Ready() if hosted is not None:
                self._serves(hosted, message, now_ns)
            case Fault(error=error):
                _tell(logging.ERROR, "worker_fault", worker, error.message)
                if hosted is not None:
                    self._fail(hosted, error, now_ns)
            case LinkGone(link_id=link_id, reason=reason, left=left):
                self._table.close_link(worker.slice_id, link_id, now_ns, left=left)
                _tell(logging.INFO, "link_gone", worker, f"link {link_id} is gone: {reason}")
            case Use(device_ns=device_ns, throttled_ns=throttled_ns, calls=calls):
                holds = Holds(message.memory_bytes, message.model_count, message.models)
                self.totals.add(worker.slice_id, Used(device_ns, throttled_ns, calls, message.batched_calls))
                self._book.used(
                    worker.slice_id, worker.epoch, device_ns=device_ns, throttled_ns=throttled_ns, calls=calls, holds=holds
                )
            case Refused(error=error, seq=seq):
                self._shrunk(hosted, seq, error)
                _tell(logging.WARNING, "change_refused", worker, error.message)
            case Changed(compute_pct=compute_pct, memory_mib=memory_mib, seq=seq):
                self._shrunk(hosted, seq)
                _tell(logging.INFO, "changed", worker, f"the slice has {compute_pct} % and {memory_mib} MiB now")
            case _:
                pass  # what belongs to the turns

    def _serves(self, hosted: _Hosted, ready: Ready, now_ns: int) -> None:
        hosted.ready = ready
        took_ms = (now_ns - hosted.worker.started_ns) // 1_000_000
        _tell(logging.INFO, "worker_ready", hosted.worker, f"serves at {ready.address} after {took_ms} ms")
        self._let_in(hosted, now_ns)

    def hangs(self, worker: WorkerProcess, now_ns: int) -> None:
        """End a worker that has been silent for too long."""
        _tell(logging.ERROR, "worker_killed", worker, "hangs")
        self._supervisor.kill(worker, now_ns)

    def _ended(self, worker: WorkerProcess, hosted: _Hosted | None, now_ns: int) -> None:
        self._supervisor.closed(worker, now_ns)
        if hosted is None:
            return
        self.deaths += 1
        _tell(logging.ERROR, "worker_died", worker, "it died")
        self._fail(hosted, WorkerLost(f"the worker of slice {worker.slice_id} died: open the link again").to_info(), now_ns)

    def _fail(self, hosted: _Hosted, error: ErrorInfo, now_ns: int) -> None:
        """The slice's worker is of no more use; the slice stays, and the next link starts another."""
        self._shrunk(hosted, None)
        self._table.lose_links(hosted.assignment.slice_id, now_ns)
        self._stop(hosted.assignment.slice_id, error, now_ns)

    # ── time ──────

    def stop_all(self, error: ErrorInfo, now_ns: int) -> None:
        """Stop every worker, telling its clients why."""
        for slice_id in list(self._hosted):
            self._stop(slice_id, error, now_ns)

    def tick(self, now_ns: int) -> None:
        """Stop workers nobody uses, and those that never became ready."""
        for slice_id, hosted in list(self._hosted.items()):
            if hosted.ready is None and now_ns - hosted.worker.started_ns >= START_NS:
                late = WorkerLost(f"the worker of slice {slice_id} was not ready within {START_NS // 10**9} s: try again")
                self._fail(hosted, late.to_info(), now_ns)
            elif self._table.links(slice_id):
                hosted.idle_since_ns = None
            elif hosted.idle_since_ns is None:
                hosted.idle_since_ns = now_ns
            elif now_ns - hosted.idle_since_ns >= IDLE_NS:
                self._stop(slice_id, None, now_ns)
        for gone in self._supervisor.reap(now_ns):
            _tell(logging.INFO, "worker_ended", gone.worker, f"status {gone.status}")


def _tell(level: int, action: str, worker: WorkerProcess, text: str) -> None:
    """Log what happens to a worker."""
    log.log(
        level,
        "worker %d of slice %s: %s",
        worker.pid,
        worker.slice_id,
        text,
        extra={"action": action, "slice": worker.slice_id, "pid": worker.pid},
    )
