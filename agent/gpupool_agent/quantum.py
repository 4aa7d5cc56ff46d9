"""The shell around a worker's permit: its lock, its clock, the threads that wait for it, and the thread that keeps it.

main, executors ──enter/leave──> Permit ──Want, Settle──> channel          channel ──Grant──> granted() ──wakes──> executors
keeper: gives the grant back when idle, says Alive while the agent waits for us
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gpupool_agent.channel import ALIVE_S, Alive, ChannelClosed, Grant, Recall, ToAgent
from gpupool_agent.permit import Permit
from gpupool_agent.threads import start_thread
from gpupool_wire.errors import LeaseLost

_now = time.monotonic_ns
#: How often the keeper looks at a grant that is held: as often as one may become idle, which is cheaper than being told.
POLL_S = 0.0015
#: ... but not more often than so many times in a grant: a long one is given where nobody else wants the device, and is recalled
#: as soon as somebody does.
POLLS_PER_GRANT = 100


class Quantum:
    """The worker's right to execute, shared by its threads."""

    def __init__(self, send: Callable[[ToAgent], None], slots: int = 2) -> None:
        self._send = send
        self._permit = Permit(slots)
        self._lock = threading.Lock()
        self._granted = threading.Condition(self._lock)
        self._keeper_wakes = threading.Condition(self._lock)
        self._keeper_sleeps = True
        self._is_stopped = False
        self._quiet_until_ns = 0
        #: Time calls waited for a grant, since the start.
        self.throttled_ns = 0

    def __repr__(self) -> str:
        return f"<Quantum, {self._permit!r}>"

    @property
    def device_ns(self) -> int:
        """Device time since the start. Calls that ran at the same time count once: they shared one turn."""
        return self._permit.total_ns

    @property
    def is_held(self) -> bool:
        """Whether the device is this worker's at the moment."""
        return self._permit.is_held

    def start(self) -> None:
        """Start the keeper."""
        start_thread("keeper", self._keep)

    def try_enter(self) -> bool:
        """Enter if that is possible now; never waits."""
        with self._lock:
            return not self._is_stopped and self._permit.enter(_now())

    def want(self) -> None:
        """Say that a call waits (in the caller's hands); `unwant` or `enter(is_waiting=True)` takes it back."""
        with self._lock:
            self._sends(self._permit.wait(_now()))

    def unwant(self) -> None:
        """The call that waited has entered, or has gone."""
        with self._lock:
            self._permit.unwait()

    def enter(self) -> int:
        """Wait until a call may execute; return how long that took (ns). Raises LeaseLost once the worker stops."""
        asked_ns = _now()
        with self._lock:
            if not self._is_stopped and self._permit.enter(asked_ns):
                return 0
            self._sends(self._permit.wait(asked_ns))
            try:
                while not self._is_stopped:
                    if self._permit.enter(_now()):
                        waited_ns = _now() - asked_ns
                        self.throttled_ns += waited_ns
                        return waited_ns
                    # The grant may have run out before this thread woke up: settle it, which asks again.
                    self._sends(self._permit.tick(_now()))
                    self._granted.wait()
            finally:
                self._permit.unwait()
        raise LeaseLost("the slice was taken back while the call waited for its turn")

    def leave(self, device_ns: int | None) -> None:
        """A call is done: `device_ns` as its driver measured it, else None: its wall time counts."""
        with self._lock:
            self._sends(self._permit.leave(_now(), device_ns))
            if self._permit.is_held:
                self._granted.notify()
            if self._keeper_sleeps and not self._permit.active:
                self._keeper_wakes.notify()

    def granted(self, grant: Grant) -> None:
        """The agent grants the device."""
        with self._lock:
            self._sends(self._permit.granted(grant, _now()))
            self._granted.notify_all()
            self._keeper_wakes.notify()

    def recalled(self, recall: Recall) -> None:
        """The agent wants the device back sooner than it said."""
        with self._lock:
            self._sends(self._permit.recalled(recall, _now()))

    def announce_silence(self, quiet_ms: int) -> None:
        """Tell the agent that this process may not get to beat for so long."""
        self._send(Alive(quiet_ms=quiet_ms))

    def stop(self) -> None:
        """Let nobody in any more; those who wait get LeaseLost."""
        with self._lock:
            self._is_stopped = True
            self._granted.notify_all()
            self._keeper_wakes.notify_all()

    def _sends(self, messages: list[ToAgent]) -> None:
        for message in messages:
            self._send(message)
            self._keeper_wakes.notify()

    def _keep(self) -> None:
        """Give idle grants back and beat. Sleeps long where nobody waits for it, or through a long call, which wakes it."""
        beat_at_ns = 0
        seen_used: tuple[int, int] = (0, 0)
        with self._lock:
            while not self._is_stopped:
                now_ns = _now()
                permit = self._permit
                try:
                    self._sends(permit.tick(now_ns))
                    if permit.is_busy and now_ns >= beat_at_ns:
                        self._send(Alive())
                        beat_at_ns = now_ns + int(ALIVE_S * 1e9)
                except ChannelClosed:
                    return  # the main thread sees the end of the channel and ends the process
                current = (permit.active, self.device_ns)
                is_long = permit.active > 0 and current == seen_used
                seen_used = current
                self._keeper_sleeps = is_long or not permit.is_held
                if not permit.is_busy:
                    self._keeper_wakes.wait()
                else:
                    poll_s = max(POLL_S, permit.quantum_ns / 1e9 / POLLS_PER_GRANT)
                    self._keeper_wakes.wait(ALIVE_S if self._keeper_sleeps else poll_s)
