"""In what order requests are served, and what gives way for them.

    queue ──head of each group, in order──> admitted ──> granted
                                              └─ no room ─┬─> what is borrowed, or matters less, is paused or gets notice
                                                          ├─> the first one: devices are kept for it (backfill goes around them)
                                                          └─> its reason is noted, the next one is tried

Backfilling without known run times cannot promise a time; it promises that a large request is not overtaken for ever: on the
devices kept for it only what is there already runs on. One decision at a time, so that each sees the last one applied.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.admission import Admission, Claim, HasNoRoom, Place
from gpupool_broker.core.elastic import grown, shrink
from gpupool_broker.core.lives import Effects, Facts, Outcome, first_assignment
from gpupool_broker.core.placement import Placer, has_room
from gpupool_broker.core.preemption import Sacrifice, least_sacrifices, may_take
from gpupool_broker.core.queue import Queue, Waiting
from gpupool_broker.core.quotas import path_of
from gpupool_broker.core.state import Device, Slice, SliceState
from gpupool_broker.core.wants import Want
from gpupool_wire.errors import GpupoolError, SliceRefused

#: Groups of the queue that are tried in one look at it.
BACKFILL_DEPTH = 500
#: Devices on which somebody might have to give way that are weighed for one request: those nearest to having room.
MAX_WEIGHED = 500
#: Requests for which that is done in one look at the queue.
MAX_RECLAIMS = 4
#: What no opening lets in is tried again after this: minimum times end without an event.
RETRY_MS = 1_000
#: Idle compute is given to elastic slices once it has been idle for this long, so that sizes do not flutter.
GROW_AFTER_MS = 1_000
#: A broker that was restarted gives callers so long to ask again before it forgets what was to be done for them.
REASK_MS = 5_000
#: Who is named as having paused a slice for somebody else.
SCHEDULER = "scheduler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How much the scheduler may ask of slices it takes."""

    #: A slice is left alone for so long after its grant.
    min_runtime_ms: int = 60_000
    #: Between the notice and the eviction.
    notice_ms: int = 30_000


class Scheduling(Admission):
    """The books, the queue, and who is served next."""

    def __init__(self, ids: Callable[[], str], placer: Placer | None = None, rules: Rules | None = None) -> None:
        super().__init__(placer)
        self._new_id = ids
        self.rules = rules or Rules()
        self.waiting = Queue()
        #: Since when slices run, and when those with notice end: monotonic, anew after a restart.
        self._runs_since_ms: dict[str, int] = {}
        self._evict_at_ms: dict[str, int] = {}
        self._paused_since_ms: dict[str, int] = {}
        #: The openings seen at the last look, and when to look again whatever happens.
        self._seen_openings = -1
        self._look_again_ms = 0
        self._restarted_ms = 0
        self._grown_openings = 0
        self._grow_at_ms: int | None = None
        #: Times of the event that was handled last: standings and windows are as of then.
        self.now_ms = self.at_ms = 0

    def standing(self, account: str) -> tuple[float, ...]:
        """Return how much of its due an account has had, its tenant's first: less is served first."""
        return tuple(self.shares.standing(name, self.quotas.of(name).guaranteed_pct, self.at_ms) for name in path_of(account))

    def new_id(self, letter: str) -> str:
        """Return an id that no other slice ("s"), gang ("g") or reservation ("r") has or had."""
        return letter + self._new_id()

    def look_again(self) -> None:
        """Have the queue looked at in the next tick, whatever has opened."""
        self._seen_openings = -1

    # ── grants ──────

    def _grant(self, event: e.SliceRequested, want: Want, places: list[Place], now: e.Event) -> Outcome:
        """Give a request its slices. `event` is the request's, `now` the one that is handled."""
        gang = self.new_id("g") if len(places) > 1 else ""
        facts, effects = self._set_sizes(self._sizes_for(want, places), now, "somebody asked for its surplus")
        slice_ids = []
        for place in places:
            if place.reserved:
                facts += self._end(place.reserved, now, "released", "its account takes it")[0]
            fact = self._grant_one(event, want, place, now, gang)
            facts.append(fact)
            effects.append(e.AssignSlice(node=fact.node, slice=first_assignment(fact)))
            slice_ids.append(fact.slice_id)
        if not gang:
            return facts, [*effects, e.AnswerSlice(caller=event.caller, slice_id=slice_ids[0])]
        return facts, [*effects, e.AnswerGang(caller=event.caller, gang_id=gang, slice_ids=tuple(slice_ids))]

    def _sizes_for(self, want: Want, places: list[Place]) -> dict[str, int]:
        """Return the sizes that elastic slices go back to for a request: for its account's limits, and beside it for room."""
        sizes: dict[str, int] = {}
        if not self.elastic:
            return sizes
        asked, freed = sum(place.plan.compute_pct for place in places if not place.reserved), 0
        for name in reversed(path_of(want.account)):
            over = self.quotas.overshoot_pct(name, asked) - freed
            if over > 0:
                elastic = (self.slices[i] for i in self.elastic)
                theirs = [s for s in elastic if s.state is SliceState.LIVE and name in path_of(s.account)]
                freed += shrink(theirs, over, sizes)
        for place in places:
            if not place.reserved:
                self._make_room_on(self.device_at(place.plan), place.plan.compute_pct, sizes)
        return sizes

    def _grant_one(self, event: e.SliceRequested, want: Want, place: Place, now: e.Event, gang: str) -> f.SliceGranted:
        request, plan, device = event.request, place.plan, self.device_at(place.plan)
        fact = f.SliceGranted(
            at_ms=now.at_ms,
            slice_id=self.new_id("s"),
            epoch=1,
            request_id=request.request_id,
            tenant=event.tenant,
            node=plan.node,
            device=plan.device,
            compute_pct=self._size(want, place, device),
            memory_mib=request.memory_mib,
            policy=request.policy,
            hold=request.hold,
            kind=request.kind,
            label=request.label,
            holder=event.holder,
            client_key=request.client_key,
            project=request.project,
            priority=want.priority,
            compute_min_pct=want.ask.compute_pct if want.is_elastic else 0,
            compute_max_pct=want.compute_max_pct if want.is_elastic else 0,
            gang=gang,
            reservation=place.reserved.reservation if place.reserved else "",
            waited_ms=max(0, now.now_ms - event.now_ms),
            tflops=request.tflops,
            models=request.models,
            node_labels=request.node_labels,
            at_least=request.at_least,
        )
        self._runs_since_ms[fact.slice_id] = now.now_ms
        return fact

    def _size(self, want: Want, place: Place, device: Device) -> int:
        """Return how much compute a slice begins with: an elastic one with what is idle, up to its most."""
        if not want.is_elastic or place.reserved:
            return place.plan.compute_pct
        spare = self.quotas.spare_pct(want.account)
        idle = device.compute_free_pct if spare is None else min(device.compute_free_pct, spare)
        return max(want.ask.compute_pct, min(want.compute_max_pct, idle))

    # ── the queue ──────

    def _serve_queue(self, event: e.Ticked) -> Outcome:
        """Grant what comes first of what has room; refuse what has waited long enough."""
        effects: Effects = []
        for waiting in self.waiting.overdue(event.now_ms):
            waited = f"waited {waiting.event.request.wait_ms / 1000:g} s: {waiting.reason}"
            effects.append(e.AnswerError(caller=waiting.event.caller, error=SliceRefused(waited)))
        if self.claim is not None and self.claim.request_id not in self.waiting:
            self.claim = None
            self.look_again()
        if not len(self.waiting) or (self._seen_openings == self.openings and event.now_ms < self._look_again_ms):
            return [], effects
        reclaims = 0
        for waiting, _ in zip(self.waiting.heads(self.standing), range(BACKFILL_DEPTH), strict=False):
            try:
                places = self.admit(waiting.want, event.at_ms, waiting.request_id)
            except HasNoRoom as error:
                waiting.reason = error.why
                reclaims += 1
                if reclaims <= MAX_RECLAIMS and (outcome := self._make_room(waiting, event)):
                    return outcome[0], [*effects, *outcome[1]]
                if error.details.get("can_ever_fit"):
                    self._keep_for(waiting)
            except GpupoolError as error:
                # Its quota, or what it names: its own affair, for which nobody has to wait.
                waiting.reason = error.message
            else:
                self.waiting.remove(waiting)
                facts, granted = self._grant(waiting.event, waiting.want, places, event)
                return facts, [*effects, *granted]
        self._seen_openings, self._look_again_ms = self.openings, event.now_ms + RETRY_MS
        return [], effects

    def _keep_for(self, waiting: Waiting) -> None:
        """Keep devices for the first request in order that has no room."""
        first = self.waiting.get(self.claim.request_id) if self.claim else None
        if first is not None and first is not waiting and not self.waiting.outranks(waiting.want, first, self.standing):
            return
        if first is waiting and self.claim and all(self.nodes[node].takes_slices for node, _ in self.claim.devices):
            return
        if devices := self.claimable(waiting.want):
            self.claim = Claim(request_id=waiting.request_id, devices=devices)

    # ── what gives way ──────

    def _make_room(self, waiting: Waiting, event: e.Event) -> Outcome | None:
        """Pause what stands in a request's way, or give it notice; None where nothing may be taken, or notice was given."""
        if any(self.slices[i].notice_for == waiting.request_id for i in self.noticed):
            return None
        sacrifices = self.sacrifices_for(waiting.want, event.now_ms, waiting.request_id)
        if not sacrifices:
            return None
        if any(sacrifice.evicted for sacrifice in sacrifices):
            devices = self.claimable(waiting.want) if waiting.want.count > 1 else frozenset[tuple[str, str]]()
            places = frozenset((s.device.node, s.device.info.device) for s in sacrifices)
            self.claim = Claim(request_id=waiting.request_id, devices=places | devices)
        return self._take_from(sacrifices, f"{waiting.want.account} asked for it", waiting.request_id, event)

    def sacrifices_for(self, want: Want, now_ms: int, request_id: str = "") -> list[Sacrifice]:
        """Return the least that would have to give way for a request, by device; nothing where nothing may be taken."""
        if not self._may_take_any(want):
            return []
        ask = self.constrained(want)
        if self.claim and self.claim.request_id != request_id:
            ask = dataclasses.replace(ask, avoid_devices=ask.avoid_devices | self.claim.devices)
        spots = self.placer.nearest(ask, max(MAX_WEIGHED, want.count))
        full = [spot for spot in spots if not has_room(ask, spot)]
        missing = want.count - (len(spots) - len(full))
        return least_sacrifices(full, want, missing, lambda device: self._victims(device, want, now_ms)) if missing > 0 else []

    def _may_take_any(self, want: Want) -> bool:
        ask = want.ask
        within = any(self.quotas.is_within_guarantee(name, ask.compute_pct, ask.memory_mib) for name in path_of(want.account))
        return within or want.priority > min(self.priorities, default=want.priority)

    def _victims(self, device: Device, want: Want, now_ms: int) -> list[Slice]:
        row = (self.slices[i] for i in device.slices)
        return [s for s in row if self._is_free_to_go(s, now_ms) and may_take(self.quotas, want, s)]

    def _is_free_to_go(self, slice_: Slice, now_ms: int) -> bool:
        if slice_.state is not SliceState.LIVE or slice_.notice or slice_.reservation in self.reservations:
            return False
        since_ms = self._runs_since_ms.setdefault(slice_.slice_id, now_ms)
        return now_ms - since_ms >= self.rules.min_runtime_ms

    def _take_from(self, sacrifices: list[Sacrifice], reason: str, request_id: str, event: e.Event) -> Outcome:
        facts: Facts = []
        effects: Effects = []
        for slice_ in (slice_ for sacrifice in sacrifices for slice_ in sacrifice.evicted):
            more = self._notice(slice_, event, reason, self.rules.notice_ms, request_id)
            facts, effects = facts + more[0], effects + more[1]
        if not facts:
            # Room by eviction comes later: only where there is none of it does anybody have to stand still now.
            for slice_ in (slice_ for sacrifice in sacrifices for slice_ in sacrifice.paused):
                self._paused_since_ms[slice_.slice_id] = event.now_ms
                more = self._pause(slice_, event, SCHEDULER, reason)
                facts, effects = facts + more[0], effects + more[1]
        return facts, effects

    def _evict_one(self, event: e.Ticked) -> Outcome | None:
        """End the first slice whose notice is over; take back the notice of one that nobody needs to go any more."""
        for slice_id in sorted(self.noticed):
            slice_ = self.slices[slice_id]
            is_needed = slice_.notice_for in self.waiting or slice_.notice_for in self.reservations
            until_ms = self._evict_at_ms.setdefault(slice_id, event.now_ms + slice_.notice_ms)
            # After a restart of the broker its clients ask again, within seconds.
            is_forgotten = not is_needed and event.now_ms >= self._restarted_ms + REASK_MS
            if slice_.state is not SliceState.LIVE or is_forgotten:
                del self._evict_at_ms[slice_id]
                return self._notice(slice_, event, "")
            if event.now_ms >= until_ms and is_needed:
                del self._evict_at_ms[slice_id]
                return self._end(slice_, event, "evicted", slice_.notice)
        return None

    # ── what comes back ──────

    def _resume_one(self, event: e.Ticked) -> Outcome | None:
        """Let the first slice go on that the scheduler paused and whose device has room again."""
        kept = self.claim.devices if self.claim else frozenset[tuple[str, str]]()
        for slice_id in sorted(self.paused):
            slice_ = self.slices[slice_id]
            if slice_.paused_by != SCHEDULER or slice_.state is not SliceState.LIVE or (slice_.node, slice_.device) in kept:
                continue
            # Whoever it made room for has the first look at that.
            if event.now_ms - self._paused_since_ms.setdefault(slice_id, event.now_ms) < RETRY_MS:
                continue
            spare = self.quotas.spare_pct(slice_.account)
            if self._device_of(slice_).open_pct >= slice_.compute_pct and (spare is None or spare >= slice_.compute_pct):
                del self._paused_since_ms[slice_id]
                self._runs_since_ms[slice_id] = event.now_ms
                return self._resume(slice_, event, SCHEDULER)
        return None

    def _grow(self, event: e.Ticked) -> Outcome | None:
        """Give idle compute to the elastic slices beside it."""
        if self._grown_openings != self.openings:
            self._grown_openings, self._grow_at_ms = self.openings, event.now_ms + GROW_AFTER_MS
        if self._grow_at_ms is None or event.now_ms < self._grow_at_ms:
            return None
        self._grow_at_ms = None
        by_device: dict[tuple[str, str], list[Slice]] = {}
        for slice_id in sorted(self.elastic):
            slice_ = self.slices[slice_id]
            if slice_.state is SliceState.LIVE and not slice_.paused_by:
                by_device.setdefault((slice_.node, slice_.device), []).append(slice_)
        sizes: dict[str, int] = {}
        given: Counter[str] = Counter()
        for row in by_device.values():
            sizes |= grown(self._device_of(row[0]).compute_free_pct, row, lambda slice_: self._take_one(slice_.account, given))
        return self._set_sizes(sizes, event, "its device is idle") if sizes else None

    def _take_one(self, account: str, given: Counter[str]) -> bool:
        """Count one more per cent for an account, beside what was `given` already; False where its quota has no room."""
        for name in path_of(account):
            limit = self.quotas.of(name).compute_pct
            if limit is not None and self.quotas.holds(name).compute_pct + given[name] >= limit:
                return False
        given.update(path_of(account))
        return True
