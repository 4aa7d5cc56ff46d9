"""The agent's side of the quantum channel: one thread per device hands its turns to the workers of its slices.

    worker ──Want, Settle, Unwant, Alive──> DeviceTurns ──core.throttle──> Grant ──> worker
    worker ──Ready, Use, LinkGone, ..., end of the channel──> DeviceTurns ──deliver──> the agent's loop
    agent's loop ──watch, claim, resize, disclaim──> DeviceTurns

The thread reads its workers' channels, so that a lone claimant's Want is answered by the thread that took it in, without a hop.
A worker that dies (end of its channel) forfeits its turn at once; one that holds a turn and is silent for HANG_S forfeits it too,
and is reported as hanging after KILL_NS. A slice's claim, with what it owes, outlives its workers.
"""

from __future__ import annotations

import contextlib
import logging
import select
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gpupool_agent import channel
from gpupool_agent.channel import Alive, ChannelClosed, Settle, ToAgent, Unwant, Want
from gpupool_agent.core.throttle import Grant, Recall, Standing, Throttle, Wait
from gpupool_agent.supervisor import WorkerProcess
from gpupool_agent.wakeup import Wakeup
from gpupool_wire.errors import GpupoolError, RemoteFault, RemoteProtocolError
from gpupool_wire.units import Policy

log = logging.getLogger(__name__)

HANG_NS = int(channel.HANG_S * 1e9)
#: Forfeiting a turn costs little; killing costs the sessions. A machine short of cores can be silent for a second and recover.
KILL_NS = 5_000_000_000
#: Messages read from one worker before the next has its turn to be heard.
MAX_IN_A_ROW = 64
STANDING_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Hangs:
    """A worker has been silent for KILL_NS since it was given a turn."""


@dataclass(slots=True, kw_only=True)
class _Line:
    """One worker's channel."""

    worker: WorkerProcess
    #: It has said Want and was not granted since; kept for a claim that is still to come.
    wants: bool = False
    #: The grant that is out.
    seq: int | None = None
    #: A turn was out when it fell silent; whatever it says next ends that.
    is_silent: bool = False
    #: Silence counts from here: its last message, the end of the silence it announced, or its grant.
    heard_ns: int = 0


class DeviceTurns(threading.Thread):
    """The thread that hands out one device's turns.

    Methods other than `run` are for the agent's loop; `deliver` and `fail` are called on this thread.
    """

    def __init__(
        self,
        device: str,
        deliver: Callable[[WorkerProcess, ToAgent | Hangs | None], None],
        now_ns: Callable[[], int],
        *,
        fail: Callable[[GpupoolError], None],
        hang_ns: int = HANG_NS,
        kill_ns: int = KILL_NS,
    ) -> None:
        super().__init__(name=f"turns of {device}", daemon=True)
        self.device = device
        #: How each slice stands, replaced once a second.
        self.standing: Mapping[str, Standing] = {}
        #: Turns taken back from silent workers.
        self.forfeits = 0
        self._deliver = deliver
        self._fail = fail
        self._now_ns = now_ns
        self._hang_ns = hang_ns
        self._kill_ns = kill_ns
        self._throttle = Throttle()
        self._lines: dict[int, _Line] = {}
        self._holder: _Line | None = None
        self._by_slice: dict[str, _Line] = {}
        self._claims: set[str] = set()
        self._until_ns: int | None = None
        self._next_standing_ns = 0
        self._commands: deque[Callable[[], None]] = deque()
        self._wakeup = Wakeup()
        self._epoll = select.epoll()
        self._epoll.register(self._wakeup.fileno(), select.EPOLLIN)
        self._is_stopping = False

    # ── for the agent's loop ──────

    def watch(self, worker: WorkerProcess) -> None:
        """Read this worker's channel until its end, which is delivered as None."""
        self._tell(lambda: self._watch(worker))

    def claim(self, slice_id: str, compute_pct: int, policy: Policy) -> None:
        """Give a slice its claim on turns."""
        self._tell(lambda: self._claim(slice_id, compute_pct, policy))

    def resize(self, slice_id: str, compute_pct: int, policy: Policy) -> None:
        """Change a claim."""
        self._tell(lambda: self._throttle.resize(slice_id, compute_pct=compute_pct, policy=policy, now_ns=self._now_ns()))

    def pause(self, slice_id: str, is_paused: bool) -> None:
        """Give a slice no more turns, or turns again."""
        self._tell(lambda: self._throttle.pause(slice_id, is_paused=is_paused, now_ns=self._now_ns()))

    def disclaim(self, slice_id: str) -> None:
        """Take a slice's claim away, and its turn with it; its worker is listened to until it ends."""
        self._tell(lambda: self._disclaim(slice_id))

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._is_stopping = True
        self._wakeup.set()
        if self.is_alive():
            self.join()
        self._epoll.close()
        self._wakeup.close()

    def _tell(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        self._wakeup.set()

    # ── the thread ──────

    def run(self) -> None:
        """Serve the device until stopped."""
        try:
            while not self._is_stopping:
                self._turn()
        except Exception as error:
            # Nobody on this device would ever be served again: the agent must end, so that the broker places its slices anew.
            log.critical("device %s is no longer served", self.device, exc_info=True, extra={"action": "turns_died"})
            self._fail(RemoteFault(f"the thread of device {self.device} died: {error}"))

    def _turn(self) -> None:
        for fd, _ in self._epoll.poll(self._timeout_s()):
            if (line := self._lines.get(fd)) is not None:
                self._hear(fd, line)
            else:
                self._obey()
        self._look_for_silence()
        self._hand_out()
        self._take_standing()

    def _timeout_s(self) -> float | None:
        due = [self._until_ns] if self._until_ns is not None else []
        if self._holder is not None:
            due.append(self._holder.heard_ns + self._hang_ns)
        due += [line.heard_ns + self._kill_ns for line in self._lines.values() if line.is_silent]
        if self._claims or self.standing:
            due.append(self._next_standing_ns)
        return max(0.0, (min(due) - self._now_ns()) / 1e9) if due else None

    def _obey(self) -> None:
        self._wakeup.clear()
        while self._commands:
            command = self._commands.popleft()
            try:
                command()
            except GpupoolError:
                # The broker's sums are wrong, or a message was lost: one slice suffers, not the device.
                log.exception("device %s cannot follow its agent", self.device, extra={"action": "turns_failed"})

    def _watch(self, worker: WorkerProcess) -> None:
        line = _Line(worker=worker)
        self._lines[worker.end.fileno()] = self._by_slice[worker.slice_id] = line
        self._epoll.register(worker.end.fileno(), select.EPOLLIN)

    def _claim(self, slice_id: str, compute_pct: int, policy: Policy) -> None:
        self._throttle.add(slice_id, compute_pct=compute_pct, policy=policy, now_ns=self._now_ns())
        self._claims.add(slice_id)
        line = self._by_slice.get(slice_id)
        if line is not None and line.wants:
            self._throttle.want(slice_id, self._now_ns())

    def _disclaim(self, slice_id: str) -> None:
        if slice_id in self._claims:
            self._claims.discard(slice_id)
            self._end_turn(slice_id)
            self._throttle.remove(slice_id, self._now_ns())

    def _end_turn(self, slice_id: str) -> None:
        """The slice's worker has no turn any more, whatever it thinks."""
        if self._holder is not None and self._holder.worker.slice_id == slice_id:
            self._holder.seq = None
            self._holder = None

    # ── what workers say ──────

    def _hear(self, fd: int, line: _Line) -> None:
        for _ in range(MAX_IN_A_ROW):
            try:
                message = line.worker.end.receive()
            except ChannelClosed:
                self._ended(fd, line)
                return
            except RemoteProtocolError as error:
                # Our own program at both ends: a worker that talks nonsense is broken or taken over.
                log.error("%s", error, extra={"action": "worker_broken", "slice": line.worker.slice_id})  # noqa: TRY400
                self._deliver(line.worker, Hangs())
                return
            if message is None:
                return
            self._heard(line, message)

    def _heard(self, line: _Line, message: ToAgent) -> None:
        now_ns = self._now_ns()
        slice_id = line.worker.slice_id
        line.heard_ns = max(line.heard_ns, now_ns)
        line.is_silent = False
        match message:
            case Want():
                line.wants = True
                if slice_id in self._claims:
                    self._throttle.want(slice_id, now_ns)
            case Settle(seq=seq, used_ns=used_ns, more=more):
                line.wants = more
                if line.seq == seq:
                    self._end_turn(slice_id)
                if slice_id in self._claims and not self._throttle.settle(
                    slice_id, seq, used_ns=used_ns, wants=more, now_ns=now_ns
                ):
                    # Forfeited meanwhile; the worker has come back and may want again.
                    self._want_or_not(slice_id, more, now_ns)
            case Unwant():
                line.wants = False
                if slice_id in self._claims:
                    self._throttle.unwant(slice_id, now_ns)
            case Alive(quiet_ms=quiet_ms):
                line.heard_ns = max(line.heard_ns, now_ns + quiet_ms * 1_000_000)
            case _:
                self._deliver(line.worker, message)

    def _want_or_not(self, slice_id: str, wants: bool, now_ns: int) -> None:
        if wants:
            self._throttle.want(slice_id, now_ns)
        else:
            self._throttle.unwant(slice_id, now_ns)

    def _ended(self, fd: int, line: _Line) -> None:
        self._epoll.unregister(fd)
        del self._lines[fd]
        slice_id = line.worker.slice_id
        if self._by_slice.get(slice_id) is line:
            del self._by_slice[slice_id]
            if slice_id in self._claims:
                if line.seq is not None:
                    self._throttle.forfeit(slice_id, line.seq, self._now_ns())
                    self._end_turn(slice_id)
                self._throttle.unwant(slice_id, self._now_ns())
        self._deliver(line.worker, None)

    # ── turns ──────

    def _look_for_silence(self) -> None:
        now_ns = self._now_ns()
        line = self._holder
        if line is not None and line.seq is not None and now_ns - line.heard_ns >= self._hang_ns:
            log.warning(
                "worker %d of slice %s is silent: its turn is taken back",
                line.worker.pid,
                line.worker.slice_id,
                extra={"action": "turn_forfeited", "slice": line.worker.slice_id},
            )
            self._throttle.forfeit(line.worker.slice_id, line.seq, now_ns)
            self._end_turn(line.worker.slice_id)
            line.is_silent = True
            self.forfeits += 1
        for silent in self._lines.values():
            if silent.is_silent and now_ns - silent.heard_ns >= self._kill_ns:
                silent.is_silent = False
                self._deliver(silent.worker, Hangs())

    def _hand_out(self) -> None:
        """Grant turns until the device is held or nobody is due."""
        self._until_ns = None
        while True:
            now_ns = self._now_ns()
            match self._throttle.next(now_ns):
                case Grant() as grant:
                    self._grant(grant, now_ns)
                case Recall() as recall:
                    self._recall(recall)
                case Wait(until_ns=until_ns):
                    self._until_ns = until_ns
                    return
                case None:
                    return

    def _recall(self, recall: Recall) -> None:
        line = self._by_slice.get(recall.slice_id)
        if line is not None:
            with contextlib.suppress(ChannelClosed):  # its end is on the way
                line.worker.end.send(channel.Recall(seq=recall.seq, quantum_ns=recall.quantum_ns))

    def _grant(self, grant: Grant, now_ns: int) -> None:
        line = self._by_slice.get(grant.slice_id)
        message = channel.Grant(
            seq=grant.seq, quantum_ns=grant.quantum_ns, linger_ns=grant.linger_ns, patience_ns=grant.patience_ns
        )
        try:
            is_sent = line is not None and line.worker.end.send(message)
        except ChannelClosed:
            is_sent = False  # its end is on the way
        if line is None or not is_sent:
            self._throttle.forfeit(grant.slice_id, grant.seq, now_ns)
            return
        line.seq = grant.seq
        line.wants = False
        line.heard_ns = max(line.heard_ns, now_ns)
        self._holder = line

    def _take_standing(self) -> None:
        now_ns = self._now_ns()
        if now_ns >= self._next_standing_ns:
            self._next_standing_ns = now_ns + STANDING_NS
            self.standing = {slice_id: self._throttle.standing(slice_id, now_ns) for slice_id in self._claims}
