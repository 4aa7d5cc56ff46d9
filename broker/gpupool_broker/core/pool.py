"""The pool as a state machine.

Rules: `handle` decides and changes nothing but timers and the queue; `apply` changes the pool and decides nothing; replaying
facts through `apply` gives the same pool. Time comes with the event, ids from the `ids` the shell passes in.

    event ──handle──> facts (what happened) ──journal──> apply ──> state
                  └─> effects (who to tell), performed once the facts are stored

Life of a slice:   requested ──> live ──> released | expired | lost
                        │         │ ▲
                     refused      ▼ │  its node was lost, it is placed again
                                stranded
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import singledispatchmethod

import msgspec

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.entries import check_entry
from gpupool_broker.core.admission import HasNoRoom
from gpupool_broker.core.energy import EnergyCounters
from gpupool_broker.core.lives import Effects, Facts, Outcome
from gpupool_broker.core.placement import Placer
from gpupool_broker.core.queue import MAX_WAITING, Waiting
from gpupool_broker.core.quotas import Quota
from gpupool_broker.core.scheduling import Rules
from gpupool_broker.core.shrinks import Shrinks
from gpupool_broker.core.state import SliceState
from gpupool_broker.core.steering import Steering
from gpupool_broker.core.wants import Want, want_of
from gpupool_wire.errors import Conflict, GpupoolError, NotFound, SliceRefused
from gpupool_wire.limits import AGENT_LOST_S
from gpupool_wire.messages import Assignment, BoardHealth


class Pool(Steering):
    """The books, the queue, and the decisions: `handle` is the door for events, the books' `apply` the door for facts."""

    def __init__(self, ids: Callable[[], str], placer: Placer | None = None, rules: Rules | None = None) -> None:
        super().__init__(ids, placer, rules)
        self._heard_ms: dict[str, int] = {}
        self._heard_at_ms: dict[str, int] = {}
        self.shrinks = Shrinks()
        self._energy = EnergyCounters()
        #: By (node, device): what its board last said of itself; not journalled.
        self.boards: dict[tuple[str, str], BoardHealth] = {}

    def __repr__(self) -> str:
        up = sum(node.is_up for node in self.nodes.values())
        live = sum(slice_.state is SliceState.LIVE for slice_ in self.slices.values())
        return f"<Pool, {up} nodes up, {live} slices live, {len(self.waiting)} waiting>"

    # ── events ──────

    def handle(self, event: e.Event) -> Outcome:
        """Decide what an event means. The caller applies the facts before it handles the next event."""
        self.now_ms, self.at_ms = event.now_ms, event.at_ms
        outcome: Outcome = _handler_of(type(event))(self, event)
        return outcome

    @singledispatchmethod
    def _handle(self, event: e.Event) -> Outcome:
        raise AssertionError(f"no handler for {type(event).__name__}")

    @_handle.register
    def _on_agent_greeted(self, event: e.AgentGreeted) -> Outcome:
        self._heard_ms[event.node], self._heard_at_ms[event.node] = event.now_ms, event.at_ms
        joined = f.NodeJoined(
            at_ms=event.at_ms,
            node=event.node,
            door=event.door,
            devices=list(event.devices),
            labels=event.labels,
        )
        offered = {info.device: info for info in event.devices}
        facts: Facts = []
        kept: list[Assignment] = []
        for slice_ in self._slices_on(event.node):
            device = self.nodes[event.node].devices[slice_.device].info
            if offered.get(slice_.device) != device:
                facts += self._strand(slice_, event, f"{event.node} does not offer {slice_.device} as it did")
            elif slice_.state is SliceState.LIVE:
                kept.append(self.assignment_of(slice_))
        # What cannot stay is stranded before the node's devices are replaced, so that nothing is held by a device that is gone.
        return [*facts, joined], [e.WelcomeAgent(caller=event.caller, node=event.node, slices=tuple(kept))]

    @_handle.register
    def _on_agent_beat(self, event: e.AgentBeat) -> Outcome:
        node = self.nodes.get(event.node)
        if node is None or not node.is_up:
            return [], [e.GreetAnew(caller=event.caller, node=event.node)]
        self._heard_ms[event.node], self._heard_at_ms[event.node] = event.now_ms, event.at_ms
        facts: Facts = self._energy.told(event.node, event.energy, event.now_ms, event.at_ms)
        effects: Effects = [e.AnswerBeat(caller=event.caller, seq=event.seq)]
        self.boards.update(((event.node, board.device), board) for board in event.boards if board.device in node.devices)
        for use in event.use:
            facts += self._use(use, event)
        for lost in event.lost:
            slice_ = self.slices.get(lost.slice_id)
            if slice_ and slice_.node == event.node and slice_.state is SliceState.LIVE and lost.epoch >= slice_.epoch:
                facts_, effects_ = self._end(slice_, event, "lost", lost.reason)
                facts += facts_
                effects += effects_
        return facts, effects

    @_handle.register
    def _on_agent_left(self, event: e.AgentLeft) -> Outcome:
        node = self.nodes.get(event.node)
        return self._lose_node(node, event, event.reason or "the agent left") if node and node.is_up else ([], [])

    @_handle.register
    def _on_slice_requested(self, event: e.SliceRequested) -> Outcome:
        request = event.request
        if known := self._answers.get(request.request_id):
            return [], [self._answer_again(event, known)]
        try:
            want = want_of(request, event.tenant)
            self.quotas.check_priority(want.account, want.priority)
        except GpupoolError as error:
            return [], [e.AnswerError(caller=event.caller, error=error)]
        self.placer.seen(want.ask)
        first = self.waiting.get(self.claim.request_id) if self.claim else None
        goes_first = first is not None and self.waiting.outranks(want, first, self.standing)
        try:
            return self._grant(event, want, self.admit(want, event.at_ms, request.request_id, goes_first=goes_first), event)
        except SliceRefused as error:
            return self._let_wait(event, want, error, comes_first=first is None or goes_first)
        except GpupoolError as error:
            return [], [e.AnswerError(caller=event.caller, error=error)]

    def _let_wait(self, event: e.SliceRequested, want: Want, error: SliceRefused, *, comes_first: bool) -> Outcome:
        """Put a request that has no room into the queue, or refuse it."""
        ask = want.ask
        can_ever = error.details.get("can_ever_fit", True) and self.quotas.can_ever_hold(
            want.account, (ask.compute_pct or 1) * want.count, ask.memory_mib * want.count, want.count
        )
        sacrifices = self.sacrifices_for(want, event.now_ms) if can_ever and isinstance(error, HasNoRoom) else []
        if sacrifices and not event.request.wait_ms and not any(sacrifice.evicted for sacrifice in sacrifices):
            # Those who pause for it do so at once: this turn's look at the queue is all the waiting there is.
            event = dataclasses.replace(event, request=msgspec.structs.replace(event.request, wait_ms=1))
        if not (event.request.wait_ms and can_ever and len(self.waiting) < MAX_WAITING):
            return [], [e.AnswerError(caller=event.caller, error=error)]
        self.waiting.add(Waiting(event, want, error.why if isinstance(error, HasNoRoom) else error.message))
        if sacrifices or comes_first:
            self.look_again()
        return [], []

    @_handle.register
    def _on_cancel_requested(self, event: e.CancelRequested) -> Outcome:
        waiting = self.waiting.get(event.request_id)
        if waiting is None or (event.tenant is not None and waiting.event.tenant != event.tenant):
            error = NotFound(f"no request {event.request_id[:64]} waits (any more)", request_id=event.request_id[:64])
            return [], [e.AnswerError(caller=event.caller, error=error)]
        self.waiting.remove(waiting)
        refusal = SliceRefused(f"cancelled by {event.by} while it waited: {waiting.reason}")
        told = e.AnswerError(caller=waiting.event.caller, error=refusal)
        return [], [told, e.AnswerDone(caller=event.caller, value=event.request_id)]

    @_handle.register
    def _on_caller_left(self, event: e.CallerLeft) -> Outcome:
        for waiting in self.waiting.of_caller(event.caller):
            self.waiting.remove(waiting)
        return [], []

    _handle.register(e.PauseRequested, Steering.on_pause_requested)
    _handle.register(e.ResumeRequested, Steering.on_resume_requested)
    _handle.register(e.ReservationRequested, Steering.on_reservation_requested)
    _handle.register(e.ReservationCancelled, Steering.on_reservation_cancelled)
    _handle.register(e.DefragRequested, Steering.on_defrag_requested)

    @_handle.register
    def _on_resize_requested(self, event: e.ResizeRequested) -> Outcome:
        if event.request_id in self._answers:
            return [], [self._answer(event.caller, event.slice_id, event.tenant)]
        try:
            slice_ = self._owned(event.slice_id, event.tenant)
            compute, memory = event.compute_pct or slice_.compute_pct, event.memory_mib or slice_.memory_mib
            if slice_.paused_by:
                raise Conflict(f"slice {slice_.slice_id} is paused, by {slice_.paused_by}: resume it, then resize it")
            self._check_room(slice_, compute, memory)
            self.quotas.check(slice_.account, compute - slice_.compute_pct, memory - slice_.memory_mib, 0)
            if memory < slice_.memory_mib:
                return [], [self.shrinks.begin(slice_, event, compute, memory)]
        except GpupoolError as error:
            return [], [e.AnswerError(caller=event.caller, error=error)]
        return self._resize(slice_, event, event, compute, memory)

    @_handle.register
    def _on_shrink_answered(self, event: e.ShrinkAnswered) -> Outcome:
        shrink = self.shrinks.answered(event.slice_id, event.request_id)
        if shrink is None:
            return [], []
        asked, refusal = shrink.event, event.error
        slice_ = self.slices.get(event.slice_id)
        try:
            if slice_ is None or slice_.epoch != shrink.epoch or slice_.state is not SliceState.LIVE:
                raise Conflict(f"slice {event.slice_id} has changed while it was to shrink: look at it, and ask again")
            if refusal is None:
                self._check_room(slice_, shrink.compute_pct, shrink.memory_mib)
        except GpupoolError as error:
            refusal = error
        if slice_ is None or refusal is not None:
            effects: Effects = [e.AnswerError(caller=asked.caller, error=refusal or NotFound())]
            if slice_ is not None and slice_.state is SliceState.LIVE and event.error is None:
                # The agent keeps to the smaller size already: it hears that the old one holds.
                effects.append(e.AssignSlice(node=slice_.node, slice=self.assignment_of(slice_)))
            return [], effects
        return self._resize(slice_, asked, event, shrink.compute_pct, shrink.memory_mib)

    @_handle.register
    def _on_release_requested(self, event: e.ReleaseRequested) -> Outcome:
        if event.request_id in self._answers:
            return [], [self._answer(event.caller, event.slice_id, event.tenant)]
        try:
            slice_ = self._owned(event.slice_id, event.tenant, stranded_too=True)
        except GpupoolError as error:
            return [], [e.AnswerError(caller=event.caller, error=error)]
        facts, effects = self._end(slice_, event, "released", event.reason, event.request_id)
        return facts, [*effects, e.AnswerSlice(caller=event.caller, slice_id=slice_.slice_id)]

    @_handle.register
    def _on_locate_requested(self, event: e.LocateRequested) -> Outcome:
        return [], [self._answer(event.caller, event.slice_id, event.tenant)]

    @_handle.register
    def _on_cordon_requested(self, event: e.CordonRequested) -> Outcome:
        if event.node not in self.nodes:
            return [], [_unknown_node(event.caller, event.node)]
        self._draining.forget(event.node)
        fact = f.NodeCordoned(at_ms=event.at_ms, node=event.node, by=event.by, drain_ms=event.drain_ms)
        return [fact], [e.AnswerNode(caller=event.caller, node=event.node)]

    @_handle.register
    def _on_uncordon_requested(self, event: e.UncordonRequested) -> Outcome:
        if event.node not in self.nodes:
            return [], [_unknown_node(event.caller, event.node)]
        self._draining.forget(event.node)
        fact = f.NodeUncordoned(at_ms=event.at_ms, node=event.node, by=event.by)
        return [fact], [e.AnswerNode(caller=event.caller, node=event.node)]

    @_handle.register
    def _on_quota_requested(self, event: e.QuotaRequested) -> Outcome:
        present = self.quotas.limits.get(event.tenant, Quota()).revision
        if event.revision is not None and event.revision != present:
            error = Conflict(
                f"the quota of {event.tenant[:64]} was changed meanwhile (revision {present}, you saw {event.revision}): "
                "look at it, and set it again",
                revision=present,
            )
            return [], [e.AnswerError(caller=event.caller, error=error)]
        fact = f.QuotaSet(
            at_ms=event.at_ms,
            tenant=event.tenant,
            by=event.by,
            compute_pct=event.compute_pct,
            memory_mib=event.memory_mib,
            slices=event.slices,
            guaranteed_pct=event.guaranteed_pct,
            guaranteed_mib=event.guaranteed_mib,
            max_priority=event.max_priority,
        )
        return [fact], [e.AnswerTenant(caller=event.caller, tenant=event.tenant)]

    @_handle.register
    def _on_entry_requested(self, event: e.EntryRequested) -> Outcome:
        try:
            check_entry(event.entry, self.tariff)
        except GpupoolError as error:
            return [], [e.AnswerError(caller=event.caller, error=error)]
        return [event.entry], [e.AnswerEntered(caller=event.caller)]

    @_handle.register
    def _on_restarted(self, event: e.Restarted) -> Outcome:
        self._heard_ms = {node.node: event.now_ms for node in self.nodes.values() if node.is_up}
        self._stranded = dict.fromkeys(self._stranded)
        self._restarted_ms = event.now_ms
        return [], []

    @_handle.register
    def _on_ticked(self, event: e.Ticked) -> Outcome:
        """One decision a tick, so that each sees the last one applied; the shell ticks until nothing is left to decide."""
        for node in self.nodes.values():
            if node.is_up and event.now_ms - self._heard_ms.setdefault(node.node, event.now_ms) > AGENT_LOST_S * 1000:
                return self._lose_node(node, event, f"no beat for {AGENT_LOST_S:g} s")
        in_vain = list(self.shrinks.over(self.slices, event.now_ms))
        facts, effects = self._next_of(event)
        return facts, [*in_vain, *effects]

    def _next_of(self, event: e.Ticked) -> Outcome:
        """Return the next decision that is due: what is promised comes before what is asked, that before what is idle."""
        if promised := (
            self._replace_one(event) or self._drain_one(event) or self._keep_reservations(event) or self._evict_one(event)
        ):
            return promised
        facts, effects = self._serve_queue(event)
        if facts:
            return facts, effects
        more_facts, more_effects = self._resume_one(event) or self._move_one(event) or self._grow(event) or ([], [])
        return more_facts, [*effects, *more_effects]

    # ── answers ──────

    def _answer_again(self, event: e.SliceRequested, known: str) -> e.Effect:
        """Answer the repeat of a request as it was answered first."""
        slice_ = self.slices.get(known)
        if slice_ is None or not slice_.gang or slice_.tenant != event.tenant:
            return self._answer(event.caller, known, event.tenant)
        return e.AnswerGang(caller=event.caller, gang_id=slice_.gang, slice_ids=tuple(self.gangs[slice_.gang]))

    def heard_at_ms(self, node: str) -> int | None:
        """Return the wall time a node was last heard at; None where that was before this broker started."""
        return self._heard_at_ms.get(node)


def _unknown_node(caller: e.Caller, node: str) -> e.Effect:
    return e.AnswerError(caller=caller, error=NotFound(f"there is no node {node[:64]}", node=node[:64]))


#: Looked up here, as a singledispatchmethod makes a new function at every call.
_handler_of = Pool.__dict__["_handle"].dispatcher.dispatch
