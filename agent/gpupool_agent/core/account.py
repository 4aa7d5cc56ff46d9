"""One slice's account on one device: what it is owed, what it owes, what it got.

Two ledgers, both in integers, because either alone fails:

*Virtual time* orders the slices that wait. It is device time divided by the share, `used * 100 / compute`: the time at which a
slice running at exactly its compute would have used as much. The slice furthest behind goes first, so a call of 700 ms on a
5 % slice moves it 14 s ahead, and everybody else comes first until they are level.

*Credit* is the claim on device time against the wall clock: it grows by `compute` per cent of the time that passes and is
spent by use. A `fixed` slice runs only on credit, which is its cap. A `burst` slice spends credit down to nothing and goes on;
below nothing it gets only by calls that outlast their quantum while others have a claim, and it pays that at its own rate.

Credit that is not spent is kept only so far: one quantum by a slice that idles (a short burst), CATCH_UP_NS more by a busy
one. Time lost to somebody's overlong call is kept too, since that caller's debt leaves the device free to make it good.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gpupool_wire.units import Policy

#: A slice of 100 % would hold the device so long; the others in proportion, so that a full round takes about this long.
ROUND_NS = 80_000_000
#: Handing the device over takes two hops of the channel, 0.1 to 0.2 ms: a few per cent of a turn no shorter than this.
MIN_QUANTUM_NS = 4_000_000
#: A busy slice keeps this much of the wall clock's credit: several rounds, and 0.7 points of a 30 s window at most.
CATCH_UP_NS = 200_000_000
#: ... and so much more of the time that overlong calls of others took: a detection on a CPU takes 700 ms, and seven in a row 5 s.
OVERRUN_CATCH_UP_NS = 5_000_000_000
#: The window of `achieved`, and the step it moves by.
WINDOW_NS = 10_000_000_000
STEP_NS = 100_000_000


class Meter:
    """Device time used in all and in the last WINDOW_NS, to a STEP_NS."""

    __slots__ = ("_steps", "_window_ns", "total_ns")

    def __init__(self) -> None:
        self.total_ns = 0
        self._window_ns = 0
        self._steps: deque[list[int]] = deque()

    def add(self, used_ns: int, now_ns: int) -> None:
        """Count `used_ns` as used now."""
        self.total_ns += used_ns
        self._window_ns += used_ns
        step = now_ns // STEP_NS
        if self._steps and self._steps[-1][0] == step:
            self._steps[-1][1] += used_ns
        else:
            self._steps.append([step, used_ns])
            self._forget(now_ns)

    def window_ns(self, now_ns: int) -> int:
        """Return the device time used in the last WINDOW_NS."""
        self._forget(now_ns)
        return self._window_ns

    def _forget(self, now_ns: int) -> None:
        oldest = (now_ns - WINDOW_NS) // STEP_NS
        while self._steps and self._steps[0][0] <= oldest:
            self._window_ns -= self._steps.popleft()[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a slice stands with its device: for pages, metrics and "why is it slow"."""

    slice_id: str
    granted_pct: int
    policy: Policy
    #: Device time used since the slice came, and its share of the time since then and in the last 10 s.
    used_ns: int
    achieved_pct: float
    achieved_10s_pct: float
    #: Time it had work and no turn; turns it had; device time it owes.
    waited_ns: int
    waited_10s_ns: int
    turns: int
    debt_ns: int
    is_waiting: bool
    is_capped: bool


@dataclass(slots=True, kw_only=True)
class Account:
    """A slice's standing with its device's throttle, which alone changes it."""

    slice_id: str
    compute_pct: int
    policy: Policy
    #: When it came to the device.
    since_ns: int
    #: Device time charged so far, times 100 / compute.
    virtual_ns: int
    #: Claim on device time, in hundredths of a nanosecond: `compute` per cent of one nanosecond is then a whole number.
    credit_cns: int = 0
    credited_at_ns: int
    #: How much more of it than usual may be kept, for time lost to others' overlong calls.
    kept_cns: int = 0
    #: It has work or holds the device; if not, since when.
    is_busy: bool = False
    idle_since_ns: int
    #: After the last turn the next work came so soon that handing the device over was hardly worth while.
    pauses_briefly: bool = True
    #: Since when it has waited for its turn; None while it holds the device or has no work.
    waiting_since_ns: int | None = None
    #: A `fixed` slice that has spent its credit waits until it has enough for a turn, which is then.
    is_capped: bool = False
    uncapped_at_ns: int = 0
    #: The broker has paused the slice: it waits, whatever it is owed, until the broker says otherwise.
    is_paused: bool = False
    #: The last turn ended for want of work, having moved virtual time by so much: its calls come one at a time.
    short_turn_ns: int | None = None
    waited_ns: int = 0
    turns: int = 0
    meter: Meter = field(default_factory=Meter)
    waiting_meter: Meter = field(default_factory=Meter)
    #: How long a turn is while others wait, and the credit that lasts for it: more is earned while it runs.
    quantum_ns: int = field(init=False)
    turn_credit_cns: int = field(init=False)

    def __post_init__(self) -> None:
        self._size()
        self.credit_cns = self.quantum_ns * 100

    def __repr__(self) -> str:
        state = "capped" if self.is_capped else "waiting" if self.waiting_since_ns is not None else "not waiting"
        return f"<Account of {self.slice_id}: {self.compute_pct} % {self.policy}, {state}, owes {self.debt_ns / 1e6:.1f} ms>"

    @property
    def debt_ns(self) -> int:
        """Device time used beyond what was owed, not yet paid."""
        return max(0, -self.credit_cns // 100)

    def earn(self, now_ns: int) -> None:
        """Add the credit of the time since the last call, as far as it may be kept."""
        elapsed_ns = now_ns - self.credited_at_ns
        if elapsed_ns <= 0:
            return
        self.credited_at_ns = now_ns
        limit_cns = self.quantum_ns * 100 + self.kept_cns
        if self.is_busy:
            limit_cns += CATCH_UP_NS * self.compute_pct
        # What was earned under a higher limit stays; it only stops growing.
        self.credit_cns = min(self.credit_cns + elapsed_ns * self.compute_pct, max(limit_cns, self.credit_cns))

    def keep(self, lost_ns: int) -> None:
        """Somebody's call took `lost_ns` beyond its quantum while this slice was busy: what it earned then is not cut."""
        self.kept_cns = min(self.kept_cns + lost_ns * self.compute_pct, OVERRUN_CATCH_UP_NS * self.compute_pct)

    def rest(self) -> None:
        """The slice had gone: it comes back with no more than a short burst."""
        self.kept_cns = 0
        self.credit_cns = min(self.credit_cns, self.quantum_ns * 100)

    def idle(self, now_ns: int) -> None:
        """The slice has no work and no turn."""
        self.is_busy = False
        self.idle_since_ns = now_ns

    def stop_waiting(self, now_ns: int) -> None:
        """The slice's turn has come, or its work has gone."""
        self.earn(now_ns)
        if self.waiting_since_ns is not None:
            self.waited_ns += now_ns - self.waiting_since_ns
            self.waiting_meter.add(now_ns - self.waiting_since_ns, now_ns)
            self.waiting_since_ns = None

    def spend(self, used_ns: int, now_ns: int, *, overrun_ns: int = 0, paused_ns: int = 0) -> None:
        """Take a turn's use from the credit.

        `overrun_ns` of it was beyond the quantum while others had a claim; for `paused_ns` the slice kept the device from others
        and did nothing, so that much of what it lost before it has lost by itself.
        """
        self.kept_cns = max(0, self.kept_cns - paused_ns * 100)
        # What was earned meanwhile comes after, so that the limit cuts only what is left of both.
        self.credit_cns -= used_ns * 100
        self.earn(now_ns)
        if self.policy is Policy.FIXED:
            # Not at the last nanosecond: a turn of next to nothing costs two hops like any other.
            if self.compute_pct < 100 and self.credit_cns * 8 < self.turn_credit_cns:
                self.kept_cns = 0
                self._cap()
        else:
            # It was its turn by virtual time, so earlier debts are paid: only this overrun counts.
            self.credit_cns = max(self.credit_cns, -overrun_ns * 100)

    def charge(self, device_ns: int) -> None:
        """Move virtual time by what the slice kept from others."""
        self.virtual_ns += device_ns * 100 // self.compute_pct

    def resize(self, compute_pct: int, policy: Policy, level_ns: int) -> None:
        """Change the size; what is owed, either way, stays the same device time. `level_ns`: the device's virtual time."""
        self.virtual_ns = level_ns + (self.virtual_ns - level_ns) * self.compute_pct // compute_pct
        self.compute_pct = compute_pct
        self.policy = policy
        self._size()
        self.rest()
        self.short_turn_ns = None
        was_capped, self.is_capped = self.is_capped, False
        if was_capped and policy is Policy.FIXED and compute_pct < 100:
            self._cap()

    def standing(self, now_ns: int) -> Standing:
        """Return how the slice stands."""
        self.earn(now_ns)
        age_ns = max(1, now_ns - self.since_ns)
        waiting_ns = now_ns - self.waiting_since_ns if self.waiting_since_ns is not None else 0
        return Standing(
            slice_id=self.slice_id,
            granted_pct=self.compute_pct,
            policy=self.policy,
            used_ns=self.meter.total_ns,
            achieved_pct=100 * self.meter.total_ns / age_ns,
            achieved_10s_pct=100 * self.meter.window_ns(now_ns) / min(age_ns, WINDOW_NS),
            waited_ns=self.waited_ns + waiting_ns,
            waited_10s_ns=min(WINDOW_NS, self.waiting_meter.window_ns(now_ns) + waiting_ns),
            turns=self.turns,
            debt_ns=self.debt_ns,
            is_waiting=self.waiting_since_ns is not None,
            is_capped=self.is_capped,
        )

    def _size(self) -> None:
        self.quantum_ns = max(MIN_QUANTUM_NS, ROUND_NS * self.compute_pct // 100)
        self.turn_credit_cns = self.quantum_ns * (100 - self.compute_pct)

    def _cap(self) -> None:
        self.is_capped = True
        self.uncapped_at_ns = self.credited_at_ns - (self.credit_cns - self.turn_credit_cns) // self.compute_pct
