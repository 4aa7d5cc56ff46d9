"""A worker's side of the quantum channel, as a value.

Rules: a call enters only inside a grant whose quantum is not over; while none is held and calls wait, exactly one Want is out.
A grant is settled once, when nothing is active and the quantum is over or nothing has happened for IDLE_NS; `used_ns` is the
union of the calls' intervals, or the device time its driver measured. Each door returns the messages to send; time is an argument
(nanoseconds, monotonic).

    NONE ──ask: Want──> WANTED ──granted──> HELD ──settle(more)──> WANTED
                                              └────settle──> NONE
"""

from __future__ import annotations

from gpupool_agent.channel import IDLE_NS, Grant, Settle, ToAgent, Want


class Permit:
    """Whether calls may execute now. Not thread-safe by itself."""

    __slots__ = (
        "_active_since_ns",
        "_idle_since_ns",
        "_quantum_ns",
        "_seq",
        "_started_ns",
        "_used_ns",
        "active",
        "is_wanted",
        "waiting",
    )

    def __init__(self) -> None:
        self.is_wanted = False
        #: Calls inside the grant, and calls that want in.
        self.active = 0
        self.waiting = 0
        self._seq: int | None = None
        self._quantum_ns = 0
        self._started_ns = 0
        self._used_ns = 0
        self._active_since_ns = 0
        self._idle_since_ns = 0

    def __repr__(self) -> str:
        state = "wanted" if self.is_wanted else "none" if self._seq is None else f"grant {self._seq}"
        return f"<Permit, {state}, {self.active} active, {self.waiting} waiting>"

    @property
    def is_held(self) -> bool:
        """Whether the worker holds a grant."""
        return self._seq is not None

    @property
    def is_busy(self) -> bool:
        """Whether the agent waits for this worker, so that it has to show that it lives."""
        return self.is_wanted or self._seq is not None

    def is_open(self, now_ns: int) -> bool:
        """Whether a call may enter now."""
        return self._seq is not None and now_ns - self._started_ns < self._quantum_ns

    def enter(self, now_ns: int) -> bool:
        """Enter if the grant is open; return whether."""
        if not self.is_open(now_ns):
            return False
        if self.active == 0:
            self._active_since_ns = now_ns
        self.active += 1
        return True

    def wait(self, now_ns: int) -> list[ToAgent]:
        """One more call wants in (see `unwait`). Settles a grant that is over, asks for one where none is out."""
        self.waiting += 1
        sent = self.tick(now_ns)
        if self._seq is None and not self.is_wanted:
            self.is_wanted = True
            sent.append(Want())
        return sent

    def unwait(self) -> None:
        """One call less wants in: it has entered, or has gone. A Want that is out stays out and is settled when granted."""
        self.waiting -= 1

    def granted(self, grant: Grant, now_ns: int) -> list[ToAgent]:
        """The device is ours. A grant nobody waits for any more, or a second one, is settled at once with nothing used."""
        if self._seq is not None:
            return [Settle(seq=grant.seq, used_ns=0, more=False)]
        self.is_wanted = False
        if not self.waiting:
            return [Settle(seq=grant.seq, used_ns=0, more=False)]
        self._seq, self._quantum_ns = grant.seq, grant.quantum_ns
        self._started_ns = self._idle_since_ns = now_ns
        self._used_ns = 0
        return []

    def leave(self, now_ns: int, device_ns: int | None) -> list[ToAgent]:
        """One call is done; `device_ns` where its driver measured it, else the wall time counts."""
        self.active -= 1
        if device_ns is not None:
            self._used_ns += device_ns
        elif self.active == 0:
            self._used_ns += now_ns - self._active_since_ns
        if self.active == 0:
            self._idle_since_ns = now_ns
            if not self.is_open(now_ns):
                return self._settle()
        return []

    def tick(self, now_ns: int) -> list[ToAgent]:
        """Settle where nothing is active and the quantum is over, or nothing happened for IDLE_NS."""
        if self._seq is None or self.active:
            return []
        if self.is_open(now_ns) and now_ns - self._idle_since_ns < IDLE_NS:
            return []
        return self._settle()

    def _settle(self) -> list[ToAgent]:
        if self._seq is None:
            return []
        settled = Settle(seq=self._seq, used_ns=self._used_ns, more=self.waiting > 0)
        self._seq = None
        self.is_wanted = settled.more
        return [settled]
