"""Who gets the next quantum of one device, how long, and who owes what. Pure: the caller brings the time.

    want ──> waiting ──next──> Grant ──settle──> charged ──> waiting | idle
                                 │  └─forfeit (the holder died or hangs)
                                 └─next──> Recall (it was alone, and is no more)

One slice holds the device at a time. Whenever it is free, the waiting slice that is furthest behind in virtual time gets it,
a `fixed` one only on credit (`account` tells the two ledgers). So:

- Busy slices get device time in proportion to their compute; `fixed` ones stop at it, and the rest goes to the `burst` ones.
- A call is never interrupted. What it takes beyond its quantum is charged like everything else, and its slice waits until
  the others are level: a 700 ms call of a 5 % slice is followed by 13.3 s of the others. Nor does a `burst` slice that owes
  slip into the short pauses of slices behind it: it comes when they are level, capped or silent for RECENT_NS, or when it has
  paid at its own rate. Whoever is served moves on in virtual time, so everybody's turn comes.
- Who comes back from idling is at most one quantum behind the others: nobody saves up more than a short burst.
- Charged is what a slice keeps from others: its execution, and its pauses inside a turn while others wait. A caller of one
  call at a time leaves pauses. Free of charge, 0.2 ms calls with 0.3 ms between them would take 2.5 times their share of the
  wall clock, and busy neighbours would pay; handed back at every pause, they would get one call a round. So the worker
  lingers through pauses up to `Grant.linger_ns` at the caller's own cost, and a pair of such callers divides what one of them
  would get alone. Where nobody waits pauses cost nothing, and a cap counts execution only. For callers who pause longer than
  LINGER_NS nobody lingers: others fill their pauses, in turns no longer than theirs. After `Grant.patience_ns` somebody else
  is due: calls so long that handing over costs less than a pause then end the turn.

A turn is 80 ms times the share, at least 4 ms: a full round takes about 80 ms, handing over takes about 0.6 ms of a turn, and a
slice that wants little waits for about one turn of somebody else. A slice that is alone gets LONE_QUANTUM_NS, since between two
turns the device stands still until the last call has ended; when somebody comes, the grant is recalled: one usual turn is left of
it. Every decision is one pass over the device's slices.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpupool_agent.core.account import ROUND_NS, Account, Standing
from gpupool_wire.errors import Conflict, NotFound
from gpupool_wire.units import Policy, parse_compute

__all__ = ["Grant", "Recall", "Standing", "Throttle", "Wait"]

#: The turn of a slice that is alone on its device. `fixed` ones below 100 % keep to short turns, so that their cap stays smooth.
LONE_QUANTUM_NS = 1_000_000_000
LONE_CAPPED_QUANTUM_NS = 50_000_000
#: A pause this short is cheaper to sit out than to hand the device over and back.
LINGER_NS = 1_500_000
#: What handing over adds to a call, so that one call is not a little less than half of two.
PATIENCE_SLACK_NS = 300_000
#: A slice that had work this recently is expected back.
RECENT_NS = 100_000_000
#: The shortest turn between two calls of somebody who pauses: it may be what keeps the next call waiting.
FILL_QUANTUM_NS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The device is the slice's, for `quantum_ns` of wall time from now; a call under way then runs to its end."""

    slice_id: str
    seq: int
    quantum_ns: int
    #: How long the holder may wait for more work before it hands back.
    linger_ns: int
    #: After so much of the turn somebody else is due; the whole quantum if nobody waits.
    patience_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """The grant of this number, given to a slice that was alone, is over so many nanoseconds after it was given."""

    slice_id: str
    seq: int
    quantum_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to grant now; unless something happens before, ask again then."""

    until_ns: int


@dataclass(slots=True)
class _Turn:
    account: Account
    seq: int
    granted_at_ns: int
    deadline_ns: int
    #: From when on somebody else could have had the device; None: nobody so far.
    contended_at_ns: int | None
    #: It was given for being alone; and since then somebody has come whom its holder has yet to hear of.
    is_lone: bool = False
    is_recalled: bool = False


class Throttle:
    """The shares of one device. Events come in by its methods; `next` says what to do. `now_ns` never runs backwards."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._turn: _Turn | None = None
        self._seq = 0
        #: Virtual time of the device: that of the slice that had the last turn, when it began, and never less than before.
        self._virtual_ns = 0
        #: The device idles for this slice's pause, though others wait.
        self._reserved_for: Account | None = None

    def __repr__(self) -> str:
        holder = self._turn.account.slice_id if self._turn else "nobody"
        waiting = sum(account.waiting_since_ns is not None for account in self._accounts.values())
        return f"<Throttle: {len(self._accounts)} slices, {waiting} waiting, held by {holder}>"

    @property
    def holder(self) -> tuple[str, int] | None:
        """The slice that holds the device, and the number of its grant."""
        return (self._turn.account.slice_id, self._turn.seq) if self._turn else None

    # ── slices ──────

    def add(self, slice_id: str, *, compute_pct: int, policy: Policy, now_ns: int) -> None:
        """Admit a slice, without work. Raises Conflict where it is there already, UsageError for an impossible size."""
        if slice_id in self._accounts:
            raise Conflict(f"slice {slice_id} is on this device already")
        self._accounts[slice_id] = Account(
            slice_id=slice_id,
            compute_pct=parse_compute(compute_pct),
            policy=policy,
            since_ns=now_ns,
            virtual_ns=self._virtual_ns,
            credited_at_ns=now_ns,
            idle_since_ns=now_ns - RECENT_NS,
        )

    def resize(self, slice_id: str, *, compute_pct: int, policy: Policy | None = None, now_ns: int) -> None:
        """Change a slice's size, and its policy if named; what it owes, it owes still. A turn under way is not cut short."""
        account = self._of(slice_id)
        account.earn(now_ns)
        account.resize(parse_compute(compute_pct), policy or account.policy, self._virtual_ns)

    def pause(self, slice_id: str, *, is_paused: bool, now_ns: int) -> None:
        """Give a slice no more turns, or turns again; one under way is not cut short. What it missed meanwhile is not made up."""
        account = self._of(slice_id)
        if account.is_paused and not is_paused:
            account.earn(now_ns)
            account.rest()
            account.virtual_ns = max(account.virtual_ns, self._virtual_ns)
        account.is_paused = is_paused

    def remove(self, slice_id: str, now_ns: int) -> None:
        """Forget a slice; a turn it holds ends."""
        account = self._of(slice_id)
        if self._turn and self._turn.account is account:
            self.forfeit(slice_id, self._turn.seq, now_ns)
        del self._accounts[slice_id]

    # ── work ──────

    def want(self, slice_id: str, now_ns: int) -> None:
        """The slice has work and no turn. Harmless if it was said before, or while it holds the device."""
        account = self._of(slice_id)
        if account.waiting_since_ns is not None or (self._turn and self._turn.account is account):
            return
        turn = self._turn
        if turn is not None and turn.is_lone:
            turn.is_lone, turn.is_recalled = False, True
            turn.deadline_ns = min(turn.deadline_ns, now_ns + turn.account.quantum_ns)
        if turn is not None and turn.contended_at_ns is None and not self._is_capped(account, now_ns):
            turn.contended_at_ns = now_ns
            # What the holder used while nobody waited it owes nobody, nor the length of a turn it got for being alone.
            holder = turn.account
            alone_ns = max(now_ns - turn.granted_at_ns, turn.deadline_ns - turn.granted_at_ns - holder.quantum_ns)
            self._virtual_ns = max(self._virtual_ns, holder.virtual_ns + alone_ns * 100 // holder.compute_pct)
        pause_ns = now_ns - account.idle_since_ns
        # Who comes back from idling may be anybody.
        account.pauses_briefly = pause_ns <= LINGER_NS or pause_ns >= RECENT_NS
        if self._reserved_for is account:
            account.charge(pause_ns)
        self._queue(account, now_ns)

    def unwant(self, slice_id: str, now_ns: int) -> None:
        """The slice's work is gone before its turn came."""
        account = self._of(slice_id)
        if account.waiting_since_ns is not None:
            account.stop_waiting(now_ns)
            account.idle(now_ns)

    def settle(self, slice_id: str, seq: int, *, used_ns: int, wants: bool, now_ns: int) -> bool:
        """Take a quantum back: `used_ns` of it was execution, and there is more work or not.

        Returns False, and changes nothing, where that grant is not out (it was forfeited, or never given).
        """
        turn = self._turn
        if turn is None or turn.seq != seq or turn.account.slice_id != slice_id:
            return False
        account = turn.account
        held_ns = now_ns - turn.granted_at_ns
        used_ns = max(0, min(used_ns, held_ns))
        contended_ns = 0 if turn.contended_at_ns is None else max(0, now_ns - turn.contended_at_ns)
        paused_ns = min(held_ns - used_ns, contended_ns)
        charged_ns = used_ns + paused_ns
        late_ns = max(0, now_ns - turn.deadline_ns)
        self._turn = None
        if late_ns:
            for other in self._accounts.values():
                if other is not account and other.is_busy:
                    other.keep(late_ns)
        account.spend(used_ns, now_ns, overrun_ns=min(used_ns, late_ns, contended_ns), paused_ns=paused_ns)
        account.charge(charged_ns)
        account.meter.add(used_ns, now_ns)
        ended_early = not wants and now_ns < turn.deadline_ns
        account.short_turn_ns = charged_ns * 100 // account.compute_pct if ended_early else None
        account.idle(now_ns)
        if wants:
            self._queue(account, now_ns)
        return True

    def forfeit(self, slice_id: str, seq: int, now_ns: int) -> bool:
        """The holder died or hangs: it is charged all it held, and has no work until it says so. False where it held nothing."""
        turn = self._turn
        return turn is not None and self.settle(slice_id, seq, used_ns=now_ns - turn.granted_at_ns, wants=False, now_ns=now_ns)

    # ── decisions ──────

    def next(self, now_ns: int) -> Grant | Recall | Wait | None:
        """Say whose turn it is, whose is over early, until when nobody's is, or None: nothing to do before the next event.

        While a turn is out it is Wait(its end), then None; whoever holds the device longer runs a long call, or hangs.
        """
        if self._turn is not None and self._turn.is_recalled:
            return self._recall(self._turn)
        if self._turn is not None:
            return Wait(until_ns=self._turn.deadline_ns) if now_ns < self._turn.deadline_ns else None
        first, owing, wake_at_ns = self._waiting(now_ns)
        uncapped_at_ns = wake_at_ns
        if owing is not None and (first is None or owing.virtual_ns < first.virtual_ns):
            allowed_at_ns = self._allowed_at_ns(owing, now_ns)
            if allowed_at_ns <= now_ns:
                first = owing
            else:
                wake_at_ns = min(wake_at_ns or allowed_at_ns, allowed_at_ns)
        self._reserved_for = self._pausing_before(first, now_ns) if first is not None else None
        if self._reserved_for is not None:
            return Wait(until_ns=self._reserved_for.idle_since_ns + LINGER_NS)
        if first is not None:
            return self._grant(first, uncapped_at_ns, now_ns)
        return Wait(until_ns=wake_at_ns) if wake_at_ns is not None else None

    @staticmethod
    def _recall(turn: _Turn) -> Recall:
        turn.is_recalled = False
        return Recall(slice_id=turn.account.slice_id, seq=turn.seq, quantum_ns=turn.deadline_ns - turn.granted_at_ns)

    def standing(self, slice_id: str, now_ns: int) -> Standing:
        """Return how a slice stands."""
        return self._of(slice_id).standing(now_ns)

    def snapshot(self, now_ns: int) -> list[Standing]:
        """Return how every slice stands."""
        return [account.standing(now_ns) for account in self._accounts.values()]

    # ── inside ──────

    def _of(self, slice_id: str) -> Account:
        if (account := self._accounts.get(slice_id)) is None:
            raise NotFound(f"slice {slice_id} is not on this device")
        return account

    def _queue(self, account: Account, now_ns: int) -> None:
        account.earn(now_ns)
        if now_ns - account.idle_since_ns >= RECENT_NS:
            account.rest()
        account.virtual_ns = max(account.virtual_ns, self._virtual_ns - ROUND_NS)
        account.is_busy = True
        account.waiting_since_ns = now_ns

    def _is_capped(self, account: Account, now_ns: int) -> bool:
        if account.is_paused:
            return True
        if not account.is_capped:
            return False
        if now_ns < account.uncapped_at_ns:
            return True
        account.is_capped = False
        account.virtual_ns = max(account.virtual_ns, self._virtual_ns - ROUND_NS)
        return False

    def _waiting(self, now_ns: int) -> tuple[Account | None, Account | None, int | None]:
        """Return who is first of those who wait, who of those that owe, and when the next capped one may go."""
        first: Account | None = None
        owing: Account | None = None
        uncapped_at_ns: int | None = None
        for account in self._accounts.values():
            if account.waiting_since_ns is None:
                continue
            if account.is_paused:
                continue
            if self._is_capped(account, now_ns):
                uncapped_at_ns = min(uncapped_at_ns or account.uncapped_at_ns, account.uncapped_at_ns)
                continue
            if account.credit_cns < 0:
                account.earn(now_ns)
            if account.credit_cns < 0 and account.policy is Policy.BURST:
                owing = account if owing is None or account.virtual_ns < owing.virtual_ns else owing
            else:
                first = account if first is None or account.virtual_ns < first.virtual_ns else first
        return first, owing, uncapped_at_ns

    def _pausing_before(self, first: Account, now_ns: int) -> Account | None:
        """Return a slice that is further behind and only pauses: `first` would keep it waiting for a whole turn."""
        for account in self._accounts.values():
            if (
                not account.is_busy
                and account.pauses_briefly
                and account.virtual_ns < first.virtual_ns
                and now_ns - account.idle_since_ns < LINGER_NS
                and not (account.is_capped or account.is_paused)
            ):
                return account
        return None

    def _allowed_at_ns(self, owing: Account, now_ns: int) -> int:
        """Return when a slice that owes may go, if nobody comes: once those behind it are silent, or it has paid."""
        owing.earn(now_ns)
        paid_at_ns = now_ns - owing.credit_cns // owing.compute_pct
        silent_at_ns = max(
            (
                account.idle_since_ns + RECENT_NS
                for account in self._accounts.values()
                if not (account.is_busy or account.is_capped or account.is_paused) and account.virtual_ns < owing.virtual_ns
            ),
            default=now_ns,
        )
        return min(paid_at_ns, silent_at_ns)

    def _grant(self, account: Account, uncapped_at_ns: int | None, now_ns: int) -> Grant:
        account.earn(now_ns)
        contended_at_ns = uncapped_at_ns
        is_alone = uncapped_at_ns is None
        quantum_ns = patience_ns = account.quantum_ns
        for other in self._accounts.values():
            is_waiting = other.waiting_since_ns is not None
            if (
                other is account
                or other.is_capped
                or other.is_paused
                or not (is_waiting or now_ns - other.idle_since_ns < RECENT_NS)
            ):
                continue
            is_alone = False
            lead_ns = other.virtual_ns - account.virtual_ns
            if is_waiting:
                contended_at_ns = now_ns
            if is_waiting or other.pauses_briefly:
                # Half of what would make them level: callers who alternate by several calls so come to alternate by one.
                patience_ns = min(patience_ns, lead_ns * account.compute_pct // 200 - PATIENCE_SLACK_NS)
            if other.short_turn_ns is not None:
                # Its turns are shorter than its share: so must be those of the others, or it falls behind.
                quantum_ns = min(quantum_ns, (lead_ns + other.short_turn_ns) * account.compute_pct // 100)
        if is_alone:
            is_uncapped = account.policy is Policy.BURST or account.compute_pct == 100
            quantum_ns = patience_ns = LONE_QUANTUM_NS if is_uncapped else LONE_CAPPED_QUANTUM_NS
        quantum_ns = max(quantum_ns, FILL_QUANTUM_NS)
        if account.policy is Policy.FIXED and account.compute_pct < 100:
            quantum_ns = min(quantum_ns, max(1, account.credit_cns // (100 - account.compute_pct)))
        self._seq += 1
        grant = Grant(
            slice_id=account.slice_id,
            seq=self._seq,
            quantum_ns=quantum_ns,
            linger_ns=LINGER_NS if is_alone or account.pauses_briefly else 0,
            patience_ns=max(0, min(patience_ns, quantum_ns)),
        )
        self._turn = _Turn(account, self._seq, now_ns, now_ns + quantum_ns, contended_at_ns, is_lone=is_alone)
        self._virtual_ns = max(self._virtual_ns, account.virtual_ns)
        account.stop_waiting(now_ns)
        account.turns += 1
        return grant
