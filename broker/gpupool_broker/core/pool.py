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
from collections import deque
from collections.abc import Callable
from functools import singledispatchmethod

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.lives import Effects, Facts, Lives, assignment_of
from gpupool_broker.core.placement import Ask, NoRoom, Placer, Plan
from gpupool_broker.core.quotas import Quota
from gpupool_broker.core.shrinks import Shrinks
from gpupool_broker.core.state import SliceState
from gpupool_wire.errors import Conflict, GpupoolError, NotFound, SliceRefused
from gpupool_wire.limits import AGENT_LOST_S
from gpupool_wire.messages import Assignment, RequestSlice

#: More waiting requests than that and the queue itself is the outage.
MAX_WAITING = 100_000


class Waiting:
    """A request in the queue."""

    __slots__ = ("ask", "event", "reason", "until_ms")

    def __init__(self, event: e.SliceRequested, ask: Ask, reason: str) -> None:
        self.event = event
        self.ask = ask
        self.until_ms = event.now_ms + event.request.wait_ms
        self.reason = reason


class Pool(Lives):
    """The books, the queue, and the decisions: `handle` is the door for events, the books' `apply` the door for facts."""

    def __init__(self, ids: Callable[[], str], placer: Placer | None = None) -> None:
        super().__init__(placer)
        self._new_id = ids
        self.waiting: deque[Waiting] = deque()
        self._heard_ms: dict[str, int] = {}
        self._heard_at_ms: dict[str, int] = {}
        self.shrinks = Shrinks()

    def __repr__(self) -> str:
        up = sum(node.is_up for node in self.nodes.values())
        live = sum(slice_.state is SliceState.LIVE for slice_ in self.slices.values())
        return f"<Pool, {up} nodes up, {live} slices live, {len(self.waiting)} waiting>"

    # ── events ──────

    def handle(self, event: e.Event) -> tuple[Facts, Effects]:
        """Decide what an event means. The caller applies the facts before it handles the next event."""
        return self._handle(event)

    @singledispatchmethod
    def _handle(self, event: e.Event) -> tuple[Facts, Effects]:
        raise AssertionError(f"no handler for {type(event).__name__}")

    @_handle.register
    def _on_agent_greeted(self, event: e.AgentGreeted) -> tuple[Facts, Effects]:
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
            if offered.get(slice_.device) == device:
                kept.append(assignment_of(slice_))
            else:
                reason = f"{event.node} does not offer {slice_.device} as it did"
                facts.append(f.SliceStranded(at_ms=event.at_ms, slice_id=slice_.slice_id, epoch=slice_.epoch + 1, reason=reason))
        # What cannot stay is stranded before the node's devices are replaced, so that nothing is held by a device that is gone.
        return [*facts, joined], [e.WelcomeAgent(caller=event.caller, node=event.node, slices=tuple(kept))]

    @_handle.register
    def _on_agent_beat(self, event: e.AgentBeat) -> tuple[Facts, Effects]:
        node = self.nodes.get(event.node)
        if node is None or not node.is_up:
            return [], [e.GreetAnew(caller=event.caller, node=event.node)]
        self._heard_ms[event.node], self._heard_at_ms[event.node] = event.now_ms, event.at_ms
        facts: Facts = []
        effects: Effects = [e.AnswerBeat(caller=event.caller, seq=event.seq)]
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
    def _on_agent_left(self, event: e.AgentLeft) -> tuple[Facts, Effects]:
        node = self.nodes.get(event.node)
        return self._lose_node(node, event, event.reason or "the agent left") if node and node.is_up else ([], [])

    @_handle.register
    def _on_slice_requested(self, event: e.SliceRequested) -> tuple[Facts, Effects]:
        request = event.request
        if known := self._answers.get(request.request_id):
            return [], [self._answer(event.caller, known, event.tenant)]
        ask = _ask(request)
        self.placer.seen(ask)
        try:
            return self._grant(event, self._admit(event.tenant, ask))
        except SliceRefused as error:
            may_wait = request.wait_ms and len(self.waiting) < MAX_WAITING and error.details.get("can_ever_fit", True)
            if may_wait and self.quotas.can_ever_hold(event.tenant, ask.compute_pct, ask.memory_mib):
                self.waiting.append(Waiting(event, ask, error.message))
                return [], []
            return [], [e.AnswerError(caller=event.caller, error=error)]

    def _admit(self, tenant: str, ask: Ask) -> Plan:
        """Return where a request goes; raise SliceRefused where quota or pool have no room for it."""
        self.quotas.check(tenant, ask.compute_pct, ask.memory_mib, 1)
        plan = self.placer.place(ask)
        if isinstance(plan, NoRoom):
            raise SliceRefused(plan.message, **plan.details, can_ever_fit=plan.can_ever_fit)
        return plan

    @_handle.register
    def _on_resize_requested(self, event: e.ResizeRequested) -> tuple[Facts, Effects]:
        if event.request_id in self._answers:
            return [], [self._answer(event.caller, event.slice_id, event.tenant)]
        try:
            slice_ = self._owned(event.slice_id, event.tenant)
            compute, memory = event.compute_pct or slice_.compute_pct, event.memory_mib or slice_.memory_mib
            self._check_room(slice_, compute, memory)
            self.quotas.check(slice_.tenant, compute - slice_.compute_pct, memory - slice_.memory_mib, 0)
            if memory < slice_.memory_mib:
                return [], [self.shrinks.begin(slice_, event, compute, memory)]
        except GpupoolError as error:
            return [], [e.AnswerError(caller=event.caller, error=error)]
        return self._resize(slice_, event, event, compute, memory)

    @_handle.register
    def _on_shrink_answered(self, event: e.ShrinkAnswered) -> tuple[Facts, Effects]:
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
                effects.append(e.AssignSlice(node=slice_.node, slice=assignment_of(slice_)))
            return [], effects
        return self._resize(slice_, asked, event, shrink.compute_pct, shrink.memory_mib)

    @_handle.register
    def _on_release_requested(self, event: e.ReleaseRequested) -> tuple[Facts, Effects]:
        if event.request_id in self._answers:
            return [], [self._answer(event.caller, event.slice_id, event.tenant)]
        try:
            slice_ = self._owned(event.slice_id, event.tenant, stranded_too=True)
        except GpupoolError as error:
            return [], [e.AnswerError(caller=event.caller, error=error)]
        facts, effects = self._end(slice_, event, "released", event.reason, event.request_id)
        return facts, [*effects, e.AnswerSlice(caller=event.caller, slice_id=slice_.slice_id)]

    @_handle.register
    def _on_locate_requested(self, event: e.LocateRequested) -> tuple[Facts, Effects]:
        return [], [self._answer(event.caller, event.slice_id, event.tenant)]

    @_handle.register
    def _on_cordon_requested(self, event: e.CordonRequested) -> tuple[Facts, Effects]:
        if event.node not in self.nodes:
            return [], [_unknown_node(event.caller, event.node)]
        self._draining.forget(event.node)
        fact = f.NodeCordoned(at_ms=event.at_ms, node=event.node, by=event.by, drain_ms=event.drain_ms)
        return [fact], [e.AnswerNode(caller=event.caller, node=event.node)]

    @_handle.register
    def _on_uncordon_requested(self, event: e.UncordonRequested) -> tuple[Facts, Effects]:
        if event.node not in self.nodes:
            return [], [_unknown_node(event.caller, event.node)]
        self._draining.forget(event.node)
        fact = f.NodeUncordoned(at_ms=event.at_ms, node=event.node, by=event.by)
        return [fact], [e.AnswerNode(caller=event.caller, node=event.node)]

    @_handle.register
    def _on_quota_requested(self, event: e.QuotaRequested) -> tuple[Facts, Effects]:
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
        )
        return [fact], [e.AnswerTenant(caller=event.caller, tenant=event.tenant)]

    @_handle.register
    def _on_restarted(self, event: e.Restarted) -> tuple[Facts, Effects]:
        self._heard_ms = {node.node: event.now_ms for node in self.nodes.values() if node.is_up}
        self._stranded = dict.fromkeys(self._stranded)
        return [], []

    @_handle.register
    def _on_ticked(self, event: e.Ticked) -> tuple[Facts, Effects]:
        """One decision a tick, so that each sees the last one applied; the shell ticks until nothing is left to decide."""
        for node in self.nodes.values():
            if node.is_up and event.now_ms - self._heard_ms.setdefault(node.node, event.now_ms) > AGENT_LOST_S * 1000:
                return self._lose_node(node, event, f"no beat for {AGENT_LOST_S:g} s")
        in_vain = list(self.shrinks.over(self.slices, event.now_ms))
        facts, effects = self._replace_one(event) or self._drain_one(event) or self._serve_queue(event)
        return facts, [*in_vain, *effects]

    # ── decisions ──────

    def _grant(self, event: e.SliceRequested, plan: Plan) -> tuple[Facts, Effects]:
        request = event.request
        fact = f.SliceGranted(
            at_ms=event.at_ms,
            slice_id=self._new_id(),
            epoch=1,
            request_id=request.request_id,
            tenant=event.tenant,
            node=plan.node,
            device=plan.device,
            compute_pct=request.compute_pct,
            memory_mib=request.memory_mib,
            policy=request.policy,
            hold=request.hold,
            kind=request.kind,
            label=request.label,
            holder=event.holder,
            client_key=request.client_key,
        )
        assignment = Assignment(
            slice_id=fact.slice_id,
            epoch=1,
            tenant=fact.tenant,
            device=fact.device,
            compute_pct=fact.compute_pct,
            memory_mib=fact.memory_mib,
            policy=fact.policy,
            hold=fact.hold,
        )
        return [fact], [
            e.AssignSlice(node=plan.node, slice=assignment),
            e.AnswerSlice(caller=event.caller, slice_id=fact.slice_id),
        ]

    def _serve_queue(self, event: e.Ticked) -> tuple[Facts, Effects]:
        """Grant the first waiting request that its tenant's quota allows, if it fits; refuse those whose time is over."""
        effects: Effects = []
        for waiting in list(self.waiting):
            if event.now_ms >= waiting.until_ms:
                self.waiting.remove(waiting)
                waited = f"waited {waiting.event.request.wait_ms / 1000:g} s: {waiting.reason}"
                effects.append(e.AnswerError(caller=waiting.event.caller, error=SliceRefused(waited)))
        for waiting in self.waiting:
            try:
                plan = self._admit(waiting.event.tenant, waiting.ask)
            except SliceRefused as error:
                waiting.reason = error.message
                if "dimension" in error.details:
                    continue  # its tenant's quota is its own affair: others need not wait for that
                break
            self.waiting.remove(waiting)
            facts, granted = self._grant(dataclasses.replace(waiting.event, at_ms=event.at_ms), plan)
            return facts, [*effects, *granted]
        return [], effects

    def forget_caller(self, caller: e.Caller) -> None:
        """Drop what a caller that went away was waiting for."""
        self.waiting = deque(waiting for waiting in self.waiting if waiting.event.caller != caller)

    def _answer(self, caller: e.Caller, slice_id: str, tenant: str | None) -> e.Effect:
        slice_ = self.slices.get(slice_id)
        if slice_ is None or (tenant is not None and slice_.tenant != tenant):
            return e.AnswerError(caller=caller, error=NotFound(f"there is no slice {slice_id}", slice_id=slice_id))
        return e.AnswerSlice(caller=caller, slice_id=slice_id)

    def heard_at_ms(self, node: str) -> int | None:
        """Return the wall time a node was last heard at; None where that was before this broker started."""
        return self._heard_at_ms.get(node)


def _ask(request: RequestSlice) -> Ask:
    return Ask(compute_pct=request.compute_pct, memory_mib=request.memory_mib, kind=request.kind)


def _unknown_node(caller: e.Caller, node: str) -> e.Effect:
    return e.AnswerError(caller=caller, error=NotFound(f"there is no node {node[:64]}", node=node[:64]))
