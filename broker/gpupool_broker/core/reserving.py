"""Room kept for an account in a window of time: the nightly batch finds its devices free.

    made ──(its window begins)──> room kept, one device after the other, by taking what may be taken ──> used by its account
      └───────────────────────────(its window ends, or it is cancelled)───────────────────────────────> free for all

What is kept looks like a slice that no agent knows of: it counts in its account, and for placement the room is gone. A request of
the account takes it, and when that slice ends within the window the room is kept again. Windows are wall clock time, as people
plan by it; keeping begins a notice earlier, so that who has to go has had it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.lives import Facts, Outcome
from gpupool_broker.core.placement import Ask, Placer
from gpupool_broker.core.scheduling import RETRY_MS, Rules, Scheduling
from gpupool_broker.core.state import Reservation, SliceState
from gpupool_broker.core.wants import Want
from gpupool_wire.errors import GpupoolError, SliceRefused, UsageError
from gpupool_wire.units import PRIORITY_MAX

#: A window longer than that is a quota by another name.
MAX_WINDOW_MS = 31 * 24 * 3_600_000


class Reserving(Scheduling):
    """The scheduler, and the windows it keeps room for."""

    def __init__(self, ids: Callable[[], str], placer: Placer | None = None, rules: Rules | None = None) -> None:
        super().__init__(ids, placer, rules)
        #: By reservation, why it does not have all its devices though its window has come.
        self.lacking: dict[str, str] = {}
        self._keep_again_ms, self._seen_by_keeper = 0, -1

    def want_of_reservation(self, reservation: Reservation) -> Want:
        """Return what one device's worth of a reservation wants: it goes before every request."""
        ask = Ask(compute_pct=reservation.compute_pct, memory_mib=reservation.memory_mib, kind=reservation.kind)
        return Want(ask=ask, account=reservation.account, priority=PRIORITY_MAX + 1)

    def check_reservation(self, wanted: Reservation, at_ms: int) -> None:
        """Raise UsageError or SliceRefused for a reservation that cannot be."""
        if not at_ms - RETRY_MS <= wanted.start_ms < wanted.end_ms <= wanted.start_ms + MAX_WINDOW_MS:
            raise UsageError(
                "a reservation begins now or later, ends after it begins, and lasts 31 days at most: "
                f"not {wanted.start_ms} to {wanted.end_ms} (ms since 1970, now is {at_ms})"
            )
        compute, memory = wanted.compute_pct * wanted.count, wanted.memory_mib * wanted.count
        if not self.quotas.can_ever_hold(wanted.account, compute, memory, wanted.count):
            raise SliceRefused(
                f"{wanted.account} may never hold {wanted.count} x {wanted.compute_pct} % and {wanted.memory_mib} MiB: "
                "reserve less, or have its quota raised first"
            )

    def _keep_reservations(self, event: e.Ticked) -> Outcome | None:
        """End the first reservation whose window is over, or keep the next device's worth of one whose window has come."""
        is_due = self._seen_by_keeper != self.openings or event.now_ms >= self._keep_again_ms
        for reservation in self.reservations.values():
            if event.at_ms >= reservation.end_ms:
                return self.end_reservation(reservation, event, "its window is over"), []
            has = len(self.reserved.get(reservation.reservation_id, ()))
            if is_due and has < reservation.count and event.at_ms >= reservation.start_ms - self.rules.notice_ms:
                outcome = self._keep_one(reservation, event)
                if outcome is not None:
                    return outcome
        if is_due:
            self._seen_by_keeper, self._keep_again_ms = self.openings, event.now_ms + RETRY_MS
        return None

    def _keep_one(self, reservation: Reservation, event: e.Ticked) -> Outcome | None:
        want = self.want_of_reservation(reservation)
        try:
            # What it has kept on a device is enough there: each device's worth is on a device of its own.
            taken = (self.slices[i] for i in self.reserved.get(reservation.reservation_id, ()))
            ask = dataclasses.replace(want.ask, avoid_devices=frozenset((s.node, s.device) for s in taken))
            self.quotas.check(want.account, ask.compute_pct, ask.memory_mib, 1)
        except GpupoolError as error:
            self.lacking[reservation.reservation_id] = error.message
            return None
        plan = self.placer.find(ask)
        if plan is None:
            self.lacking[reservation.reservation_id] = f"no device has {ask.compute_pct} % and {ask.memory_mib} MiB for it now"
            return self._take_for(reservation, dataclasses.replace(want, ask=ask), event)
        self.lacking.pop(reservation.reservation_id, None)
        facts, effects = self._room_on(self.device_at(plan), plan.compute_pct, event)
        held = f.ReservationHeld(
            at_ms=event.at_ms,
            reservation_id=reservation.reservation_id,
            slice_id=self.new_id("s"),
            node=plan.node,
            device=plan.device,
        )
        return [*facts, held], effects

    def _take_for(self, reservation: Reservation, want: Want, event: e.Ticked) -> Outcome | None:
        name = reservation.reservation_id
        if any(self.slices[i].notice_for == name for i in self.noticed):
            return None
        sacrifices = self.sacrifices_for(want, event.now_ms)
        return self._take_from(sacrifices, f"reservation {name} of {want.account}", name, event) if sacrifices else None

    def end_reservation(self, reservation: Reservation, event: e.Event, reason: str) -> Facts:
        """Return what ends a reservation: the room nobody used is free, slices that came out of it go on as any other."""
        facts: Facts = []
        for slice_id in sorted(self.reserved.get(reservation.reservation_id, ())):
            kept = self.slices[slice_id]
            if kept.state is SliceState.RESERVED:
                facts += self._end(kept, event, "released", reason)[0]
        self.lacking.pop(reservation.reservation_id, None)
        return [*facts, f.ReservationEnded(at_ms=event.at_ms, reservation_id=reservation.reservation_id, reason=reason)]
