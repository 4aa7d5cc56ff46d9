"""The agent's shell: one loop that takes what arrives, asks the cores, and does what they say.

    broker ──welcome, assign, revoke, beat answers──> loop ──> SliceTable ──effects──> Hosting ──> workers
    clients ──OpenLink──> Door ──> loop ──> Hosting
    workers ──channel──> DeviceTurns (a thread per device: quanta) ──inbox──> loop
    clock ──> Uplink: dial, greet, beat · SliceTable.expire · Hosting.tick

Everything but quanta happens on the loop's thread; the metrics thread reads a snapshot that the loop replaces once a second.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType

import zmq

from gpupool_agent.boards import unseen
from gpupool_agent.broker_link import BrokerLink
from gpupool_agent.channel import LinkGone, ToAgent
from gpupool_agent.core.slices import REOPEN_NS, SliceTable
from gpupool_agent.core.throttle import Standing
from gpupool_agent.core.uplink import Dial, GiveUp, Greet, SendBeat, State, Uplink
from gpupool_agent.core.uplink import Effect as UplinkEffect
from gpupool_agent.core.usage import Lately, UsageBook
from gpupool_agent.door import Door, LeaseCheck
from gpupool_agent.energy import unread
from gpupool_agent.hosting import Hosting
from gpupool_agent.inventory import Offer
from gpupool_agent.lodging import Lodging
from gpupool_agent.metrics import Snapshot
from gpupool_agent.settings import AgentSettings
from gpupool_agent.state import AgentState
from gpupool_agent.supervisor import WORKER_COMMAND, Supervisor, WorkerProcess
from gpupool_agent.turns import DeviceTurns, Hangs
from gpupool_agent.wakeup import Wakeup
from gpupool_wire.addresses import Address
from gpupool_wire.errors import GpupoolError, PoolUnreachable, RemoteProtocolError, UsageError, WorkerLost, from_info
from gpupool_wire.messages import (
    PROTOCOL_VERSION,
    AgentHello,
    AgentWelcome,
    Assign,
    Beat,
    BeatAnswer,
    BoardHealth,
    BrokerToAgent,
    Bye,
    DeviceEnergy,
    Failed,
    Revoke,
    Shrink,
)

log = logging.getLogger(__name__)

#: Workers' ends, idle workers and expired slices are looked after this often; ends of dying workers more often.
TICK_NS = 100_000_000
DYING_TICK_NS = 20_000_000
EXPIRE_NS = 1_000_000_000
#: Messages taken from one source in a row, so that no source starves the others.
MAX_IN_A_ROW = 256


class AgentService:
    """One agent, a context manager. `run` returns once `stop` was called, from any thread or a signal handler."""

    def __init__(
        self,
        settings: AgentSettings,
        offers: Sequence[Offer],
        *,
        worker_command: tuple[str, ...] = WORKER_COMMAND,
        now_ns: Callable[[], int] = time.monotonic_ns,
        energy: Callable[[int], list[DeviceEnergy]] = unread,
        boards: Callable[[int], list[BoardHealth]] = unseen,
    ) -> None:
        self.settings = settings
        self._now_ns = now_ns
        self._energy = energy
        self._boards = boards
        self._offers = {offer.name: offer for offer in offers}
        self._is_stopping = False
        self._inbox: deque[tuple[WorkerProcess, ToAgent | Hangs | None]] = deque()
        self._failure: GpupoolError | None = None
        self._lease_check: LeaseCheck | None = None
        self._next_tick_ns = self._next_expire_ns = 0
        self._broker_was_up = False
        self.snapshot = Snapshot()
        with contextlib.ExitStack() as opened:
            self._state = opened.enter_context(AgentState(settings.state_dir))
            if not self._state.credential and not settings.join_token:
                raise UsageError(
                    f"node {settings.node} has not joined a pool yet: make a join token (gpupool tokens create --role join) "
                    "and start the agent with --join-token"
                )
            self._wakeup = opened.enter_context(Wakeup())
            self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            opened.callback(self._context.term)
            self.door = Door(self._context, settings.door, self._state.curve_secret() if settings.encrypt else b"")
            opened.callback(self.door.close)
            self._link = BrokerLink(self._context, settings.brokers)
            opened.callback(self._link.close)
            self._table = SliceTable(settings.node, self._offers)
            self._book = UsageBook()
            self._supervisor = Supervisor(self._state.scratch_root, worker_command)
            self._turns = {name: DeviceTurns(name, self._deliver, now_ns, fail=self._fail) for name in self._offers}
            for turns in self._turns.values():
                turns.start()
                opened.callback(turns.stop)
            self._hosting = Hosting(
                self._lodging(),
                self._offers,
                self._table,
                self._book,
                self._supervisor,
                self._turns,
                self.door.answer,
                self._link.send,
            )
            opened.callback(self._stop_workers)
            self._resources = opened.pop_all()
        self._uplink = Uplink(has_credential=bool(self._state.credential), has_join_token=bool(settings.join_token))

    def __repr__(self) -> str:
        return f"<AgentService {self.settings.node}: {self._uplink!r}, {self._table!r}, {self._hosting!r}>"

    @property
    def advertised(self) -> Address:
        """The door's address as clients reach it."""
        return Address(self.settings.advertise_host, self.settings.advertise_port or self.door.address.port, self.door.key)

    @property
    def is_connected(self) -> bool:
        """Whether the broker has answered lately."""
        return self._uplink.is_up

    def stop(self) -> None:
        """Ask `run` to say goodbye, stop the workers and return."""
        self._is_stopping = True
        self._wakeup.set()

    def _fail(self, error: GpupoolError) -> None:
        """End `run` with an error, from any thread."""
        self._failure = error
        self._wakeup.set()

    def run(self) -> None:
        """Serve until stopped. Raises the broker's refusal where it will not have this agent, and what ends it otherwise."""
        poller = zmq.Poller()
        poller.register(self.door.socket, zmq.POLLIN)
        poller.register(self._wakeup.fileno(), zmq.POLLIN)
        while not self._is_stopping and self._failure is None:
            self._turn(poller)
        if self._uplink.is_up:
            self._link.send(Bye(reason="the agent is stopped"))
            self._link.close(linger=True)
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> AgentService:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop the workers and let go of everything."""
        self._resources.close()

    # ── the loop ──────

    def _turn(self, poller: zmq.Poller) -> None:
        """Wait for something, then: workers' words, the broker's, the door's, and what time asks for."""
        link = self._link.socket
        if link is not None:
            poller.register(link, zmq.POLLIN)
        poller.poll(self._wait_ms())
        if link is not None:
            poller.unregister(link)
        self._wakeup.clear()
        # In this order: a revoke that has arrived counts before a knock that has.
        self._hear_workers()
        self._hear_broker()
        self._hear_door()
        now_ns = self._now_ns()
        self._do(self._uplink.step(now_ns), now_ns)
        if now_ns >= self._next_expire_ns:
            self._next_expire_ns = now_ns + EXPIRE_NS
            self._hosting.perform(self._table.expire(now_ns), now_ns)
            self._take_snapshot()
        if now_ns >= self._next_tick_ns:
            self._hosting.tick(now_ns)
            self._next_tick_ns = now_ns + (DYING_TICK_NS if self._supervisor.has_dying else TICK_NS)

    def _wait_ms(self) -> int:
        if self._inbox:
            return 0
        due_ns = min(self._uplink.next_due_ns(), self._next_tick_ns, self._next_expire_ns)
        return max(0, -((self._now_ns() - due_ns) // 1_000_000))

    def _deliver(self, worker: WorkerProcess, message: ToAgent | Hangs | None) -> None:
        """Take a worker's message from its device's thread."""
        self._inbox.append((worker, message))
        self._wakeup.set()

    def _hear_workers(self) -> None:
        for _ in range(min(len(self._inbox), MAX_IN_A_ROW)):
            worker, message = self._inbox.popleft()
            now_ns = self._now_ns()
            if isinstance(message, Hangs):
                self._hosting.hangs(worker, now_ns)
                continue
            self._hosting.heard(worker, message, now_ns)
            if isinstance(message, LinkGone):
                self._uplink.hurry(now_ns if message.left else now_ns + REOPEN_NS)

    def _hear_door(self) -> None:
        for knock in self.door.knocks(MAX_IN_A_ROW):
            try:
                if self._lease_check is None:
                    raise PoolUnreachable(f"node {self.settings.node} has not reached its broker yet: try again")
                lease = self._lease_check.open(knock.request.lease)
            except GpupoolError as error:
                self.door.answer(knock.peer, Failed(error=error.to_info()))
                log.warning("a client is turned away at the door: %s", error, extra={"action": "refused"})
                continue
            self._hosting.knock(knock, lease, self._now_ns())

    # ── the broker ──────

    def _hear_broker(self) -> None:
        for message in self._link.messages(MAX_IN_A_ROW):
            self._heard(message, self._now_ns())

    def _heard(self, message: BrokerToAgent, now_ns: int) -> None:
        self._uplink.heard(now_ns)
        match message:
            case AgentWelcome():
                self._welcomed(message, now_ns)
            case Assign(slice=assignment):
                self._hosting.perform(self._table.assign(assignment, now_ns), now_ns)
                self._hosting.restate([assignment.slice_id])
            case Revoke():
                self._hosting.perform(self._table.revoke(message.slice_id, message.epoch, message.reason), now_ns)
            case Shrink():
                self._hosting.shrink(message)
            case BeatAnswer():
                self._table.renew(message.lease_ms * 1_000_000, now_ns)
                self._book.answered(message.seq)
            case Failed(error=error) if self._uplink.state is State.UP:
                log.info("the broker wants to be greeted again: %s", error.message, extra={"action": "greet_again"})
                self._do(self._uplink.told_to_greet(now_ns), now_ns)
            case Failed(error=error):
                log.warning("the broker refuses the greeting: %s", error.message, extra={"action": "greeting_refused"})
                self._do(self._uplink.refused(error, now_ns), now_ns)

    def _welcomed(self, welcome: AgentWelcome, now_ns: int) -> None:
        if welcome.version != PROTOCOL_VERSION:
            self._fail(
                RemoteProtocolError(
                    f"the broker speaks protocol version {welcome.version}, this agent {PROTOCOL_VERSION}: update"
                )
            )
            return
        is_first = not self._uplink.was_welcomed
        self._lease_check = LeaseCheck(welcome.lease_key)
        if welcome.credential:
            self._state.keep_credential(welcome.credential)
        self._uplink.welcomed(now_ns)
        self._book.not_answered()
        self._hosting.perform(self._table.welcome(welcome.slices, now_ns), now_ns)
        self._hosting.restate(assignment.slice_id for assignment in welcome.slices)
        log.info(
            "node %s is known to broker %s with %d slices",
            self.settings.node,
            welcome.broker,
            len(welcome.slices),
            extra={"action": "welcomed", "node": self.settings.node, "door": self.advertised.url},
        )
        if is_first:
            self._state.write_ready_file(self.settings.ready_file, {"node": self.settings.node, "door": self.advertised.url})

    def _do(self, effects: Sequence[UplinkEffect], now_ns: int) -> None:
        for effect in effects:
            match effect:
                case Dial():
                    if self._broker_was_up:
                        log.warning("broker %s does not answer", self._link.broker, extra={"action": "broker_lost"})
                    self._link.dial()
                case Greet(with_join_token=with_join_token):
                    self._link.send(self._hello(self.settings.join_token if with_join_token else self._state.credential))
                case SendBeat(seq=seq):
                    self._book.stand(self._lately())
                    lost, use = self._table.lost(now_ns), self._book.report(seq)
                    energy, boards = self._energy(now_ns), self._boards(now_ns)
                    self._link.send(Beat(seq=seq, lost=lost, use=use, energy=energy, boards=boards))
                case GiveUp(error=error):
                    self._fail(from_info(error))
            self._broker_was_up = self._uplink.is_up

    def _hello(self, token: str) -> AgentHello:
        return AgentHello(
            version=PROTOCOL_VERSION,
            node=self.settings.node,
            token=token,
            devices=[offer.info for offer in self._offers.values()],
            door=self.advertised.url,
            held=self._table.held(),
            labels=self.settings.labels,
        )

    # ── parts ──────

    def _lodging(self) -> Lodging:
        first, last = self.settings.worker_ports
        return Lodging(
            node=self.settings.node,
            bind_host=self.settings.door.host,
            advertise_host=self.settings.advertise_host,
            port_first=first,
            port_last=last,
            cache_dir=str(self._state.model_cache),
            cache_bytes=self.settings.model_cache_bytes,
            encrypt=self.settings.encrypt,
        )

    def _lately(self) -> dict[str, tuple[int, Lately]]:
        """Return the epoch of every slice here, and what it had and waited in the last ten seconds."""
        standing = self._standing()
        return {
            assignment.slice_id: (assignment.epoch, (round(1000 * row.achieved_10s_pct), row.waited_10s_ns // 1_000_000))
            for assignment in self._table.assignments()
            if (row := standing.get(assignment.slice_id)) is not None
        }

    def _standing(self) -> dict[str, Standing]:
        return {slice_id: row for turns in self._turns.values() for slice_id, row in turns.standing.items()}

    def _take_snapshot(self) -> None:
        served = tuple(self._table.assignments())
        self.snapshot = Snapshot(
            broker_is_up=self._uplink.is_up,
            slices=served,
            used={assignment.slice_id: self._hosting.totals.of(assignment.slice_id) for assignment in served},
            workers=len(self._hosting),
            worker_starts=self._hosting.starts,
            worker_deaths=self._hosting.deaths,
            standing=self._standing(),
            forfeits={name: turns.forfeits for name, turns in self._turns.items()},
        )

    def _stop_workers(self) -> None:
        """Stop all workers, telling their clients to go elsewhere, and wait until nothing is left of them."""
        error = WorkerLost(f"the agent of node {self.settings.node} stops: ask the broker where the slice is").to_info()
        self._hosting.stop_all(error, self._now_ns())
        while len(self._supervisor):
            self._wakeup.wait(0.02)
            self._wakeup.clear()
            self._hear_workers()
            self._supervisor.reap(self._now_ns())
