"""The worker's main thread: one ROUTER socket, streams of this host, one channel to the agent, and nothing that waits.

    clients ══frames══> ROUTER, streams ──decode, Sessions──> quick Run: here, now ──reply──> Outbox ══> clients
    agent ──messages──> channel ──Grant──> Quantum    other calls: Calls ──done──┘
    every second: probe silent channels, void stale tickets, report use

Whatever arrives, this loop goes on: a malformed, oversized or out-of-order message is answered with a typed error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time
from collections import deque
from collections.abc import Sequence

import zmq

from gpupool_agent.call import Call, Done
from gpupool_agent.calls import LONE_NS, QUICK_NS, Calls
from gpupool_agent.channel import (
    Admit,
    Before,
    Change,
    ChannelClosed,
    Grant,
    LinkGone,
    News,
    Recall,
    Start,
    Stop,
    WorkerEnd,
)
from gpupool_agent.core.sessions import ChannelId, GoneLink, Sessions
from gpupool_agent.devices.base import Device
from gpupool_agent.inlet import Inlet
from gpupool_agent.outbox import Outbox
from gpupool_agent.programs import SharedProgram
from gpupool_agent.quantum import Quantum
from gpupool_agent.reporting import Reporting
from gpupool_agent.resizing import MemoryLimit
from gpupool_agent.streams import Streams
from gpupool_wire.codec import AT_WORKER, encode
from gpupool_wire.errors import ErrorInfo, GpupoolError, LeaseLost, RemoteFault, RemoteProtocolError, WorkerLost
from gpupool_wire.limits import BEAT_S
from gpupool_wire.messages import (
    PROTOCOL_VERSION,
    AskUsage,
    CloseSession,
    Failed,
    Join,
    Joined,
    Leave,
    LinkEnded,
    Message,
    OpenModel,
    Operate,
    Ping,
    Pong,
    Probe,
    PutModel,
    Run,
    SessionOpened,
    SliceNews,
)
from gpupool_wire.tensors import Buffer

_log = logging.getLogger(__name__)

#: How soon a reply is tried again whose channel was full (of probes it has not read).
RETRY_S = 0.005
#: How long the last messages may take on their way out.
LINGER_MS = 300


class Server:
    """Serves one slice until its agent stops it or is gone."""

    def __init__(
        self, start: Start, device: Device, router: zmq.Socket[bytes], channel: WorkerEnd, calls: Calls, quantum: Quantum
    ) -> None:
        self._start = start
        self._device = device
        self._router = router
        self._channel = channel
        self._calls = calls
        self._quantum = quantum
        self._memory = MemoryLimit(device, lambda idle_for_ns: calls.evict_one(idle_for_ns=idle_for_ns), channel.send)
        self._sessions = Sessions()
        self._programs: dict[int, SharedProgram] = {}
        epoll = select.epoll()
        self._streams = Streams(epoll)
        #: The latest call was over at once, here, and its caller may be about to make the next.
        self._has_replied = False
        self._outbox = Outbox(router, self._streams, self._sessions, self.gone)
        self._inlet = Inlet(router, epoll, self._streams, self._outbox, self)
        #: Quick calls that wait for a grant.
        self._pending: deque[Call] = deque()
        self._reporting = Reporting(device, quantum, calls, compute_pct=start.compute_pct, policy=start.policy, send=channel.send)
        self._ends: ErrorInfo | None = None
        self._is_over = False

    def stop(self, error: ErrorInfo | None) -> None:
        """End serving after this turn; clients are told `error`. Safe in a signal handler."""
        self._ends = error
        self._is_over = True
        self._calls.wake()

    def serve(self) -> None:
        """Serve until stopped. Then clients know, and the socket is closed."""
        for fd in (self._channel.fileno(), self._calls.wake_fd):
            self._inlet.watch(fd)
        due_s = time.monotonic() + BEAT_S
        while not self._is_over:
            self._turn(due_s)
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + BEAT_S
                self._every_second()
        self._end()

    def _turn(self, due_s: float) -> None:
        """Wait until something is to be done, at most until `due_s`, and do it."""
        wait_s = due_s - time.monotonic()
        if self._outbox.has_unsent:
            wait_s = min(wait_s, RETRY_S)
        ready = self._inlet.wait(wait_s, may_look=self._may_look)
        if self._channel.fileno() in ready:
            self._hear_agent()
        if self._calls.wake_fd in ready:
            self._calls.woken()
        self._send_done()
        self._inlet.receive(ready)
        if self._pending:
            self._run_pending()
        if self._outbox.has_unsent:
            self._outbox.retry()

    def _may_look(self) -> bool:
        """Whether the next call may come at once, from a caller that waits for each answer, inside the slice's own turn."""
        has_replied, self._has_replied = self._has_replied, False
        return has_replied and self._quantum.is_held

    # ── what arrives ──────

    def hear(self, channel_id: ChannelId, frames: Sequence[Buffer]) -> bool:
        """Handle a message; whatever is wrong with it, the client hears so. Return whether the channel belongs to a link."""
        call_id = 0
        try:
            message, tensors = AT_WORKER.decode(frames)
            call_id = getattr(message, "call_id", 0)
            self._heard(channel_id, message, tensors)
        except GpupoolError as error:
            self.refuse(channel_id, error.to_info(), call_id)
        except Exception:  # noqa: BLE001 - a fault in handling one message must not end the others' service
            _log.exception("a message could not be handled", extra={"action": "message_failed"})
            fault = RemoteFault("the worker could not handle this message; its log says why")
            self.refuse(channel_id, fault.to_info(), call_id)
        return self._sessions.link_of(channel_id) is not None

    def refuse(self, channel_id: ChannelId, error: ErrorInfo, call_id: int = 0) -> None:
        """Tell a channel what was wrong with what it sent."""
        self._outbox.send(channel_id, Failed(call_id=call_id, error=error))

    def _heard(self, channel_id: ChannelId, message: Message, frames: Sequence[Buffer]) -> None:
        if isinstance(message, Join):
            self._hear_agent()  # its ticket was admitted before the client heard of it, but perhaps not read here yet
        link = self._sessions.heard(channel_id, message, time.monotonic())
        match message:
            case OpenModel() | PutModel() | Run() | Operate() | CloseSession():
                now_ns = time.monotonic_ns()
                arena = self._streams.arena_of(channel_id) if isinstance(channel_id, int) else None
                call = Call(
                    channel_id=channel_id, link=link, message=message, frames=list(frames), received_ns=now_ns, arena=arena
                )
                try:
                    call.shared = self._program_of(call)
                    self._calls.find_arrays(call)
                except GpupoolError:
                    self._sessions.answered(channel_id, message)
                    raise
                self._schedule(call)
            case Ping(call_id=call_id):
                self._outbox.send(channel_id, Pong(call_id=call_id))
            case AskUsage(call_id=call_id):
                self._outbox.send(channel_id, self._reporting.usage(call_id, self._sessions.session_count))
            case Join():
                device = self._device
                joined = Joined(
                    version=PROTOCOL_VERSION,
                    device=self._start.device,
                    kind=device.kind,
                    providers=list(device.providers),
                    stream=self._streams.name,
                    pid=os.getpid(),
                    arena_bytes=self._streams.joined(channel_id) if isinstance(channel_id, int) else 0,
                )
                self._outbox.send(channel_id, joined)
            case Leave():
                self.gone(channel_id, "the client left", left=True)

    def _program_of(self, call: Call) -> SharedProgram | None:
        """Return the program a call is about; a session that is closed is gone from here on. Raises NotFound."""
        match call.message:
            case Run(session_id=session_id):
                self._sessions.check_session(call.link, session_id)
                return self._programs[session_id]
            case CloseSession(session_id=session_id):
                self._sessions.close_session(call.link, session_id)
                return self._programs.pop(session_id)
        return None

    def _schedule(self, call: Call) -> None:
        """Run a call here if it is likely to be over at once, else hand it on."""
        if not self._may_be_quick(call):
            self._calls.submit(call)
            return
        if not self._pending:
            done = self._calls.run_now(call)
            if done is not None:
                self._send_reply(done)
                self._has_replied = True
            if done is not None or call.is_handed_on:
                return
        self._quantum.want()
        self._pending.append(call)

    def _may_be_quick(self, call: Call) -> bool:
        """Whether this thread may begin with the call. A batch of operations is handed on where it turns out to be long."""
        if isinstance(call.message, Operate):
            return not self._calls.running
        return isinstance(call.message, Run) and call.shared is not None and self._is_quick(call, call.shared)

    def _is_quick(self, call: Call, shared: SharedProgram) -> bool:
        """Whether this thread may run the call: judged by the program's latest call and by the size of the input."""
        latest_ns = shared.latest_ns
        if latest_ns is None or latest_ns > LONE_NS or not shared.is_loaded:
            return False
        if self._calls.running and self._device.parallel_calls == 1:
            return False  # it would wait here for the call before it
        nbytes = sum(map(len, call.frames))
        if nbytes > shared.quick_bytes:
            shared.quick_bytes = nbytes  # larger than ever: an executor measures it, and the next such call may be quick
            return False
        return latest_ns <= QUICK_NS or (not self._calls.running and not self._pending and not self._inlet.has_more)

    def _run_pending(self) -> None:
        """Run the quick calls that waited for a grant, while there is one."""
        while self._pending:
            call = self._pending[0]
            done = None if call.link.has_ended else self._calls.run_now(call)
            if done is None and not call.link.has_ended and not call.is_handed_on:
                return
            self._pending.popleft()
            self._quantum.unwant()
            if done is not None:
                self._send_reply(done)

    # ── what goes out ──────

    def _send_done(self) -> None:
        while self._calls.done:
            done = self._calls.done.popleft()
            self._calls.running -= isinstance(done.call.message, Run | Operate)
            self._send_reply(done)

    def _send_reply(self, done: Done) -> None:
        call, reply = done.call, done.reply
        self._sessions.answered(call.channel_id, call.message)
        if done.opened is not None:
            if call.link.has_ended:
                self._calls.release(done.opened)
                return
            reply = self._number(done.opened, call)
        if reply is not None and not call.link.has_ended:
            self._outbox.send(call.channel_id, reply, done.frames)

    def _number(self, shared: SharedProgram, call: Call) -> Message:
        """Make a session of an opened program; return the reply that says so."""
        call_id = call.message.call_id
        try:
            session_id = self._sessions.open_session(call.link)
        except GpupoolError as error:
            self._calls.release(shared)
            return Failed(call_id=call_id, error=error.to_info())
        self._programs[session_id] = shared
        surface = shared.surface
        return SessionOpened(
            call_id=call_id,
            session_id=session_id,
            inputs=surface.inputs,
            outputs=surface.outputs,
            initializers=surface.initializers,
            meta=surface.meta,
            providers=surface.providers,
            weight_bytes=shared.weight_bytes,
        )

    # ── the agent ──────

    def _hear_agent(self) -> None:
        """Do all that the agent has said until now."""
        while not self._is_over:
            try:
                message = self._channel.receive_now()
            except ChannelClosed:
                _log.warning("the agent is gone", extra={"action": "agent_gone"})
                self.stop(WorkerLost("the agent of this slice ended").to_info())
                return
            except RemoteProtocolError as error:
                _log.warning("the agent sent a malformed message: %s", error, extra={"action": "malformed"})
                continue
            match message:
                case None:
                    return
                case Grant():
                    self._quantum.granted(message)
                case Recall():
                    self._quantum.recalled(message)
                case Before():
                    self._reporting.before = message
                case Admit():
                    self._admit(message)
                case Change():
                    self._change(message)
                case News():
                    self._tell_all(SliceNews(is_paused=message.is_paused, notice=message.notice, notice_ms=message.notice_ms))
                case Stop():
                    self.stop(message.error)
                case Start():
                    _log.warning("the agent sent a second Start", extra={"action": "malformed"})

    def _admit(self, admit: Admit) -> None:
        try:
            self._sessions.admit(admit.ticket, admit.link_id, holder=admit.holder, now_s=time.monotonic())
        except GpupoolError as error:
            self._channel.send(LinkGone(link_id=admit.link_id, holder=admit.holder, reason=error.message))

    def _change(self, change: Change) -> None:
        self._reporting.compute_pct = change.compute_pct
        self._memory.change(change)

    # ── housekeeping ──────

    def _every_second(self) -> None:
        now_s = time.monotonic()
        probe = encode(Probe())
        for channel_id in self._sessions.silent(now_s - BEAT_S):
            self._outbox.transmit(channel_id, probe, keep=False)
        for gone in self._sessions.overdue(now_s):
            self._link_gone(gone)
        self._streams.close_strangers(now_s)
        self._reporting.sample()
        self._reporting.report()

    def gone(self, channel_id: ChannelId, reason: str, *, left: bool = False) -> None:
        """A channel has ended, with a goodbye or without."""
        if isinstance(channel_id, int):
            self._streams.close(channel_id)
        gone = self._sessions.channel_gone(channel_id, reason, left=left)
        if gone is not None:
            self._link_gone(gone)

    def _link_gone(self, gone: GoneLink) -> None:
        for channel_id in gone.channels:
            if isinstance(channel_id, int):
                self._streams.close(channel_id)
        for session_id in gone.sessions:
            self._calls.release(self._programs.pop(session_id))
        self._calls.link_gone(gone.link_id)
        self._channel.send(LinkGone(link_id=gone.link_id, holder=gone.holder, reason=gone.reason, left=gone.left))

    def _tell_all(self, message: Message) -> None:
        parts = encode(message)
        for channel_id in self._sessions.channel_ids:
            self._outbox.transmit(channel_id, parts, keep=False)

    def _end(self) -> None:
        self._quantum.stop()
        with contextlib.suppress(ChannelClosed):
            self._reporting.report()  # what was used in the last second counts, too
        error = self._ends
        if error is not None:
            self._tell_all(LinkEnded(error=error))
        self._streams.close_all()
        self._router.close(linger=LINGER_MS)


def stopped() -> ErrorInfo:
    """Return what clients hear when the worker is told to end by a signal."""
    return LeaseLost("the worker of this slice was stopped").to_info()
