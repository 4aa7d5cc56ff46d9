"""Facts in, days out: the one place where use is counted.

fact ──> account(device) up to its time ──> open quarters ──a quarter later──> settled ──at midnight, UTC──> Day records

Rules. Time never runs backwards: a fact whose clock is before the one ahead of it counts at that one's time. A quarter hour is
settled one quarter after its end; use or energy told later than that counts in the oldest quarter still open. Use without a span
covers the time since its slice was granted or told last, at most UNSAID_SPAN_MS. Use that was folded counts in the quarters it
names, spread over the minutes it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatchmethod
from typing import Final

import msgspec

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.days import Day
from gpupool_broker.core.accounting.grid import DAY_QUARTERS, MINUTE_MS, QUARTER_MS, spread
from gpupool_broker.core.accounting.places import Place
from gpupool_broker.core.folded import UseFolded
from gpupool_wire.units import Policy

#: The agents' roll-up of ten seconds and the beat it came with.
UNSAID_SPAN_MS: Final = 11_000
#: Ended slices may still be told of for so long.
LATE_MS: Final = 2 * QUARTER_MS
#: What begins to hold a part of a device.
Granted = f.SliceGranted | f.ReservationHeld


class HeldSlice(msgspec.Struct):
    """A slice, or room kept by a reservation, as the meter sees it."""

    #: Whose it is: a tenant, or a project as "tenant/project".
    tenant: str
    policy: Policy
    compute_pct: int
    memory_mib: int
    node: str
    device: str
    #: When it was told last.
    told_ms: int
    ended_ms: int | None = None
    is_placed: bool = True
    is_paused: bool = False


class MeterState(msgspec.Struct):
    """All a meter knows; what it needs to go on where it stopped."""

    at_ms: int = 0
    #: The first quarter not settled; 0 before the first fact.
    open_quarter: int = 0
    slices: dict[str, HeldSlice] = {}
    places: dict[str, dict[str, Place]] = {}
    ended: list[str] = []
    #: Reservation → its account, compute and memory on each of its devices.
    reservations: dict[str, tuple[str, int, int]] = {}


class Meter:
    """Counts. `take` is the door for facts; `days` gives what is complete, `today` what is settled of the days that are not."""

    def __init__(self, state: MeterState | None = None) -> None:
        self.state = state or MeterState(slices={}, places={}, ended=[], reservations={})
        self._done: list[Day] = []

    def __repr__(self) -> str:
        return f"<Meter, settled to {self.settled_ms} ms, {len(self.state.slices)} slices, {len(self._done)} days>"

    @property
    def settled_ms(self) -> int:
        """Up to when quarter hours are settled (ms since 1970)."""
        return self.state.open_quarter * QUARTER_MS

    def take(self, fact: f.Fact) -> None:
        """Count a fact."""
        self.pass_time(fact.at_ms)
        self._take(fact)

    def pass_time(self, at_ms: int) -> None:
        """Settle what is old enough at `at_ms`."""
        state = self.state
        state.at_ms = max(state.at_ms, at_ms)
        if not state.open_quarter:
            state.open_quarter = state.at_ms // QUARTER_MS
        while (state.open_quarter + 2) * QUARTER_MS <= state.at_ms:
            self._settle(state.open_quarter)
            state.open_quarter += 1

    def days(self) -> list[Day]:
        """Return the days completed since this was last asked."""
        done, self._done = self._done, []
        return done

    def today(self) -> list[Day]:
        """Return what is settled of the days that are not complete; they go on afterwards."""
        day = self.state.open_quarter // DAY_QUARTERS
        return [record for place in self._places() for record in place.book.records(day, place)]

    def _places(self) -> Iterator[Place]:
        for _, devices in sorted(self.state.places.items()):
            yield from (place for _, place in sorted(devices.items()))

    def _settle(self, quarter: int) -> None:
        end_ms = (quarter + 1) * QUARTER_MS
        day, at = divmod(quarter, DAY_QUARTERS)
        for place in self._places():
            place.account(max(end_ms, place.at_ms))
            place.settle(quarter, at)
            if at == DAY_QUARTERS - 1:
                self._done += place.book.records(day, place)
                place.book = place.book.next()
        while self.state.ended:
            slice_ = self.state.slices[self.state.ended[0]]
            if slice_.ended_ms is None or slice_.ended_ms > end_ms - LATE_MS:
                break
            del self.state.slices[self.state.ended.pop(0)]

    # ── facts ──────

    @singledispatchmethod
    def _take(self, fact: f.Fact) -> None:
        """Most facts mean nothing here."""

    @_take.register
    def _node_joined(self, fact: f.NodeJoined) -> None:
        devices = self.state.places.setdefault(fact.node, {})
        for info in fact.devices:
            place = devices.get(info.device)
            if place is None:
                place = devices[info.device] = Place.new(fact.node, info.device, self.state.at_ms)
            place.account(self.state.at_ms)
            place.model, place.memory_mib, place.is_up = info.model, info.memory_mib, True
        offered = {info.device for info in fact.devices}
        for name, place in devices.items():
            if name not in offered:
                self._take_down(place)

    @_take.register
    def _node_lost(self, fact: f.NodeLost) -> None:
        for place in self.state.places.get(fact.node, {}).values():
            self._take_down(place)

    def _take_down(self, place: Place) -> None:
        place.account(self.state.at_ms)
        place.is_up = False

    @_take.register
    def _slice_granted(self, fact: f.SliceGranted) -> None:
        account = f"{fact.tenant}/{fact.project}" if fact.project else fact.tenant
        self._begin(fact, account, fact.policy, fact.compute_pct, fact.memory_mib)
        self._place(fact.node, fact.device).book.wait(account, self.state.at_ms, fact.waited_ms)

    @_take.register
    def _reservation_made(self, fact: f.ReservationMade) -> None:
        account = f"{fact.tenant}/{fact.project}" if fact.project else fact.tenant
        self.state.reservations[fact.reservation_id] = (account, fact.compute_pct, fact.memory_mib)

    @_take.register
    def _reservation_held(self, fact: f.ReservationHeld) -> None:
        """Room that is kept for a tenant is held by it, until a slice of its own takes the place."""
        if kept := self.state.reservations.get(fact.reservation_id):
            account, compute_pct, memory_mib = kept
            self._begin(fact, account, Policy.FIXED, compute_pct, memory_mib)

    @_take.register
    def _reservation_ended(self, fact: f.ReservationEnded) -> None:
        self.state.reservations.pop(fact.reservation_id, None)

    def _begin(self, fact: Granted, account: str, policy: Policy, compute_pct: int, memory_mib: int) -> None:
        slice_ = HeldSlice(
            tenant=account,
            policy=policy,
            compute_pct=compute_pct,
            memory_mib=memory_mib,
            node=fact.node,
            device=fact.device,
            told_ms=self.state.at_ms,
        )
        self.state.slices[fact.slice_id] = slice_
        self._put(fact.slice_id, slice_)

    @_take.register
    def _slice_resized(self, fact: f.SliceResized) -> None:
        if slice_ := self.state.slices.get(fact.slice_id):
            slice_.compute_pct, slice_.memory_mib = fact.compute_pct, fact.memory_mib
            self._put(fact.slice_id, slice_)

    @_take.register
    def _slice_paused(self, fact: f.SlicePaused) -> None:
        self._set_paused(fact.slice_id, True)

    @_take.register
    def _slice_resumed(self, fact: f.SliceResumed) -> None:
        self._set_paused(fact.slice_id, False)

    def _set_paused(self, slice_id: str, is_paused: bool) -> None:
        """A paused slice holds its memory and no compute."""
        if slice_ := self.state.slices.get(slice_id):
            slice_.is_paused = is_paused
            self._put(slice_id, slice_)

    @_take.register
    def _slice_moved(self, fact: f.SliceMoved) -> None:
        if slice_ := self.state.slices.get(fact.slice_id):
            slice_.node, slice_.device, slice_.is_placed = fact.node, fact.device, True
            slice_.compute_pct = fact.compute_pct or slice_.compute_pct
            self._put(fact.slice_id, slice_)

    @_take.register
    def _slice_stranded(self, fact: f.SliceStranded) -> None:
        if slice_ := self.state.slices.get(fact.slice_id):
            self._place(slice_.node, slice_.device).remove(fact.slice_id, self.state.at_ms)
            slice_.is_placed = False

    @_take.register
    def _slice_ended(self, fact: f.SliceEnded) -> None:
        if slice_ := self.state.slices.get(fact.slice_id):
            self._place(slice_.node, slice_.device).remove(fact.slice_id, self.state.at_ms)
            slice_.is_placed, slice_.ended_ms = False, self.state.at_ms
            self.state.ended.append(fact.slice_id)

    @_take.register
    def _slice_used(self, fact: f.SliceUsed) -> None:
        slice_ = self.state.slices.get(fact.slice_id)
        if slice_ is None:
            return
        at_ms = self.state.at_ms
        span_ms = fact.span_ms or min(at_ms - slice_.told_ms, UNSAID_SPAN_MS)
        slice_.told_ms = at_ms
        place = self._place(slice_.node, slice_.device)
        start_ms = min(at_ms, max(at_ms - span_ms, self.settled_ms))
        for minute, part in spread(fact.device_ns, start_ms, at_ms, MINUTE_MS):
            tenant = place.quarter(minute * MINUTE_MS // QUARTER_MS).of(slice_.tenant)
            tenant.use(slice_.policy, part)
            tenant.minutes_ns[minute] = tenant.minutes_ns.get(minute, 0) + part

    @_take.register
    def _device_powered(self, fact: f.DevicePowered) -> None:
        place, at_ms = self._place(fact.node, fact.device), self.state.at_ms
        start_ms = min(at_ms, max(at_ms - fact.span_ms, self.settled_ms))
        for quarter, part in spread(fact.energy_mj, start_ms, at_ms, QUARTER_MS):
            place.quarter(quarter).energy_mj += part
        for quarter, part in spread(at_ms - start_ms, start_ms, at_ms, QUARTER_MS):
            place.quarter(quarter).powered_ms += part

    @_take.register
    def _use_folded(self, fact: UseFolded) -> None:
        for slice_id, number, device_ns, first, last in fact.uses:
            if slice_ := self.state.slices.get(slice_id):
                tenant = self._place(slice_.node, slice_.device).quarter(number).of(slice_.tenant)
                tenant.use(slice_.policy, device_ns)
                minutes, start_ms = tenant.minutes_ns, number * QUARTER_MS
                for minute, part in spread(device_ns, start_ms + first * MINUTE_MS, start_ms + (last + 1) * MINUTE_MS, MINUTE_MS):
                    minutes[minute] = minutes.get(minute, 0) + part
        for node, device, number, energy_mj, powered_ms in fact.energies:
            cell = self._place(node, device).quarter(number)
            cell.energy_mj += energy_mj
            cell.powered_ms += powered_ms
        for slice_id, *_, told_ms in fact.totals:
            if slice_ := self.state.slices.get(slice_id):
                slice_.told_ms = told_ms

    def _put(self, slice_id: str, slice_: HeldSlice) -> None:
        """Have a slice hold what it holds now, from now on."""
        if slice_.is_placed:
            compute_pct = 0 if slice_.is_paused else slice_.compute_pct
            place = self._place(slice_.node, slice_.device)
            place.put(slice_id, slice_.tenant, slice_.policy, compute_pct, slice_.memory_mib, self.state.at_ms)

    def _place(self, node: str, device: str) -> Place:
        devices = self.state.places.setdefault(node, {})
        place = devices.get(device)
        if place is None:
            place = devices[device] = Place.new(node, device, self.state.at_ms)
        return place
