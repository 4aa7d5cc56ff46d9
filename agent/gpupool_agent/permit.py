"""A worker's side of the quantum channel, as a value.

Rules: a call enters only inside a grant whose quantum is not over, and only while fewer than `slots` are inside; while no grant
is held and calls wait, exactly one Want is out. A grant is settled once, when nothing is active and nothing may enter any more or
is expected soon. `used_ns` is the union of the calls' intervals, or the device time their driver measured. Each door returns the
messages to send; time is an argument (nanoseconds, monotonic).

    NONE ──wait: Want──> WANTED ──granted──> HELD ──settle(more)──> WANTED
                                               └────settle──> NONE

Between two calls of a lone synchronous caller there is a pause, in which the device stands still if the grant is kept, and which
costs two messages if it is not. So the grant is kept for `linger_ns`, unless the caller's pauses have been longer lately, or
somebody else is due and calls are long (`patience_ns`).
"""

from __future__ import annotations

import msgspec

from gpupool_agent.channel import LONG_CALL_NS, Grant, Recall, Settle, ToAgent, Want

#: A pause longer than this is the end of the work, not a habit of the caller.
_LONGEST_PAUSE_NS = 100_000_000


class Permit:
    """Whether calls may execute now. Not thread-safe by itself."""

    __slots__ = (
        "_active_since_ns",
        "_grant",
        "_idle_since_ns",
        "_latest_call_ns",
        "_pause_ns",
        "_slots",
        "_started_ns",
        "_used_ns",
        "active",
        "is_wanted",
        "total_ns",
        "waiting",
    )

    def __init__(self, slots: int = 2) -> None:
        self._slots = slots
        self.is_wanted = False
        #: Device time so far: the union of the calls' intervals, or what their driver measured.
        self.total_ns = 0
        #: Calls inside the grant, and calls that want in.
        self.active = 0
        self.waiting = 0
        self._grant: Grant | None = None
        self._started_ns = 0
        self._used_ns = 0
        self._active_since_ns = 0
        self._idle_since_ns = 0
        #: What callers do: how long the latest execution took, and how long they pause between two, on average.
        self._latest_call_ns = 0
        self._pause_ns = 0

    def __repr__(self) -> str:
        state = "wanted" if self.is_wanted else "none" if self._grant is None else f"grant {self._grant.seq}"
        return f"<Permit, {state}, {self.active} active, {self.waiting} waiting>"

    @property
    def is_held(self) -> bool:
        """Whether the worker holds a grant."""
        return self._grant is not None

    @property
    def is_busy(self) -> bool:
        """Whether the agent waits for this worker, so that it has to show that it lives."""
        return self.is_wanted or self._grant is not None

    @property
    def quantum_ns(self) -> int:
        """How long the grant that is held is in all, 0 where there is none."""
        return self._grant.quantum_ns if self._grant is not None else 0

    def is_open(self, now_ns: int) -> bool:
        """Whether a call may enter now."""
        return self._grant is not None and now_ns - self._started_ns < self._grant.quantum_ns

    def enter(self, now_ns: int) -> bool:
        """Enter if the grant is open and a slot is free; return whether."""
        if self.active >= self._slots or not self.is_open(now_ns):
            return False
        if self.active == 0:
            if self.waiting == 0:
                self._note_pause(now_ns)
            self._active_since_ns = now_ns
        self.active += 1
        return True

    def wait(self, now_ns: int) -> list[ToAgent]:
        """One more call wants in (see `unwait`). Settles a grant that is over, asks for one where none is out."""
        if self.active == 0 and self.waiting == 0:
            self._note_pause(now_ns)
        self.waiting += 1
        sent = self.tick(now_ns)
        if self._grant is None and not self.is_wanted:
            self.is_wanted = True
            sent.append(Want())
        return sent

    def unwait(self) -> None:
        """One call less wants in: it has entered, or has gone. A Want that is out stays out and is settled when granted."""
        self.waiting -= 1

    def granted(self, grant: Grant, now_ns: int) -> list[ToAgent]:
        """The device is ours. A grant nobody waits for any more, or a second one, is settled at once with nothing used."""
        if self._grant is not None:
            return [Settle(seq=grant.seq, used_ns=0, more=False)]
        self.is_wanted = False
        if not self.waiting:
            return [Settle(seq=grant.seq, used_ns=0, more=False)]
        self._grant = grant
        self._started_ns = self._idle_since_ns = now_ns
        self._used_ns = 0
        return []

    def recalled(self, recall: Recall, now_ns: int) -> list[ToAgent]:
        """The grant is shorter than it was; one that is settled already is not meant."""
        if self._grant is None or self._grant.seq != recall.seq:
            return []
        self._grant = msgspec.structs.replace(self._grant, quantum_ns=recall.quantum_ns, patience_ns=0)
        return self.tick(now_ns)

    def leave(self, now_ns: int, device_ns: int | None) -> list[ToAgent]:
        """One call is done; `device_ns` where its driver measured it, else the wall time counts."""
        self.active -= 1
        if device_ns is None:
            device_ns = 0 if self.active else now_ns - self._active_since_ns
        self._used_ns += device_ns
        self.total_ns += device_ns
        if self.active:
            return []
        self._latest_call_ns = now_ns - self._active_since_ns
        self._idle_since_ns = now_ns
        return self.tick(now_ns)

    def tick(self, now_ns: int) -> list[ToAgent]:
        """Settle where nothing is active and the grant is over or no longer worth keeping."""
        if self._grant is None or self.active or now_ns < self.kept_until_ns():
            return []
        settled = Settle(seq=self._grant.seq, used_ns=self._used_ns, more=self.waiting > 0)
        self._grant = None
        self.is_wanted = settled.more
        return [settled]

    def kept_until_ns(self) -> int:
        """Return until when an idle grant is kept; callers that wait are given until the quantum's end to enter."""
        if self._grant is None:
            return 0
        end_ns = self._started_ns + self._grant.quantum_ns
        if self.waiting:
            return end_ns
        is_due = self._grant.patience_ns is not None and self._idle_since_ns - self._started_ns >= self._grant.patience_ns
        if self._pause_ns > self._grant.linger_ns or (is_due and self._latest_call_ns >= LONG_CALL_NS):
            return self._idle_since_ns
        return min(end_ns, self._idle_since_ns + self._grant.linger_ns)

    def _note_pause(self, now_ns: int) -> None:
        """Work comes after a pause: a quarter of the habit is what happened last."""
        pause_ns = now_ns - self._idle_since_ns
        if pause_ns <= _LONGEST_PAUSE_NS:
            self._pause_ns += (pause_ns - self._pause_ns) // 4
