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
from gpupool_broker.core.books import Books
from gpupool_broker.core.draining import Draining
from gpupool_broker.core.placement import Ask, NoRoom, Placer, Plan
from gpupool_broker.core.shrinks import Shrinks
from gpupool_broker.core.state import Device, Lately, Node, Slice, SliceState
from gpupool_wire.errors import Conflict, GpupoolError, LeaseLost, NotFound, SliceRefused
from gpupool_wire.limits import AGENT_LOST_S, LEASE_S
from gpupool_wire.messages import Assignment, RequestSlice, SliceUse

#: More waiting requests than that and the queue itself is the outage.
MAX_WAITING = 100_000
#: Use is journalled per slice at most this often; what is left is journalled when the slice ends.
ROLLUP_MS = 10_000

Facts = list[f.Fact]
Effects = list[e.Effect]


class Waiting:
    """A request in the queue."""

    __slots__ = ("ask", "event", "reason", "until_ms")

    def __init__(self, event: e.SliceRequested, ask: Ask, reason: str) -> None:
        self.event = event
        self.ask = ask
        self.until_ms = event.now_ms + event.request.wait_ms
        self.reason = reason


class Pool(Books):
    """The books, the queue, and the decisions: `handle` is the door for events, the books' `apply` the door for facts."""

    def __init__(self, ids: Callable[[], str], placer: Placer | None = None) -> None:
        super().__init__(placer)
        self._new_id = ids
        self.waiting: deque[Waiting] = deque()
        self._heard_ms: dict[str, int] = {}
        self._heard_at_ms: dict[str, int] = {}
        self.shrinks = Shrinks()
        self._draining = Draining()
        self._unrolled: dict[str, tuple[int, int, int, int]] = {}

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
                kept.append(_assignment(slice_))
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
        plan = self.placer.place(ask)
        if isinstance(plan, Plan):
            return self._grant(event, plan)
        if request.wait_ms and plan.can_ever_fit and len(self.waiting) < MAX_WAITING:
            self.waiting.append(Waiting(event, ask, plan.message))
            return [], []
        return [], [e.AnswerError(caller=event.caller, error=SliceRefused(plan.message, **plan.details))]

    @_handle.register
    def _on_resize_requested(self, event: e.ResizeRequested) -> tuple[Facts, Effects]:
        if event.request_id in self._answers:
            return [], [self._answer(event.caller, event.slice_id, event.tenant)]
        try:
            slice_ = self._owned(event.slice_id, event.tenant)
            compute, memory = event.compute_pct or slice_.compute_pct, event.memory_mib or slice_.memory_mib
            self._check_room(slice_, compute, memory)
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
                effects.append(e.AssignSlice(node=slice_.node, slice=_assignment(slice_)))
            return [], effects
        return self._resize(slice_, asked, event, shrink.compute_pct, shrink.memory_mib)

    def _resize(self, slice_: Slice, event: e.ResizeRequested, now: e.Event, compute: int, memory: int) -> tuple[Facts, Effects]:
        fact = f.SliceResized(
            at_ms=now.at_ms,
            slice_id=slice_.slice_id,
            epoch=slice_.epoch + 1,
            compute_pct=compute,
            memory_mib=memory,
            request_id=event.request_id,
        )
        assignment = _assignment(slice_, epoch=fact.epoch, compute_pct=compute, memory_mib=memory)
        answer = e.AnswerSlice(caller=event.caller, slice_id=slice_.slice_id)
        return [fact], [e.AssignSlice(node=slice_.node, slice=assignment), answer]

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

    def _end(self, slice_: Slice, event: e.Event, how: str, reason: str, request_id: str = "") -> tuple[Facts, Effects]:
        epoch = slice_.epoch + 1
        facts = self._roll_up(slice_.slice_id, event)
        facts.append(
            f.SliceEnded(at_ms=event.at_ms, slice_id=slice_.slice_id, epoch=epoch, how=how, reason=reason, request_id=request_id)
        )
        if slice_.state is SliceState.STRANDED:
            return facts, []
        return facts, [e.RevokeSlice(node=slice_.node, slice_id=slice_.slice_id, epoch=epoch, reason=reason)]

    def _lose_node(self, node: Node, event: e.Event, reason: str) -> tuple[Facts, Effects]:
        facts: Facts = [f.NodeLost(at_ms=event.at_ms, node=node.node, reason=reason)]
        for slice_ in self._slices_on(node.node):
            facts.append(
                f.SliceStranded(
                    at_ms=event.at_ms,
                    slice_id=slice_.slice_id,
                    epoch=slice_.epoch + 1,
                    reason=f"{node.node} was lost: {reason}",
                )
            )
        return facts, []

    def _replace_one(self, event: e.Ticked) -> tuple[Facts, Effects] | None:
        """Place the first stranded slice that fits somewhere, or end the first whose time is over."""
        for slice_id, since_ms in self._stranded.items():
            slice_ = self.slices[slice_id]
            if since_ms is None:
                self._stranded[slice_id] = since_ms = event.now_ms
            if event.now_ms - since_ms > LEASE_S * 1000:
                return self._end(slice_, event, "expired", f"no device had room for {LEASE_S:g} s after its own was lost")
            plan = self.placer.place(_ask_again(slice_))
            if isinstance(plan, Plan):
                epoch = slice_.epoch + 1
                fact = f.SliceMoved(at_ms=event.at_ms, slice_id=slice_id, epoch=epoch, node=plan.node, device=plan.device)
                assignment = _assignment(slice_, epoch=epoch, device=plan.device)
                return [fact], [e.AssignSlice(node=plan.node, slice=assignment)]
        return None

    def _drain_one(self, event: e.Ticked) -> tuple[Facts, Effects] | None:
        """Move the first slice of a drained node that fits elsewhere, or end the first whose time is over."""
        for node in self.nodes.values():
            if node.drain_ms is None or not node.is_up:
                continue
            is_over = self._draining.is_over(node.node, node.drain_ms, event.now_ms)
            for slice_ in self._slices_on(node.node):
                plan = self.placer.place(_ask_again(slice_))
                if isinstance(plan, Plan):
                    return self._move(slice_, plan, event, f"{node.node} is drained")
                if is_over:
                    return self._end(
                        slice_, event, "expired", f"{node.node} is drained, and nowhere else was room: {plan.message}"
                    )
        return None

    def _move(self, slice_: Slice, plan: Plan, event: e.Ticked, reason: str) -> tuple[Facts, Effects]:
        """Take a live slice from its device and place it on another. Its client finds it there by asking."""
        left, came = slice_.epoch + 1, slice_.epoch + 2
        facts: Facts = [
            *self._roll_up(slice_.slice_id, event),
            f.SliceStranded(at_ms=event.at_ms, slice_id=slice_.slice_id, epoch=left, reason=reason),
            f.SliceMoved(at_ms=event.at_ms, slice_id=slice_.slice_id, epoch=came, node=plan.node, device=plan.device),
        ]
        return facts, [
            # There before it ends here: a client that is told to look finds it.
            e.AssignSlice(node=plan.node, slice=_assignment(slice_, epoch=came, device=plan.device)),
            e.RevokeSlice(node=slice_.node, slice_id=slice_.slice_id, epoch=left, reason=reason),
        ]

    def _serve_queue(self, event: e.Ticked) -> tuple[Facts, Effects]:
        """Grant the first waiting request if it fits; refuse those whose time is over. First come, first served."""
        effects: Effects = []
        for waiting in list(self.waiting):
            if event.now_ms >= waiting.until_ms:
                self.waiting.remove(waiting)
                waited = f"waited {waiting.event.request.wait_ms / 1000:g} s: {waiting.reason}"
                effects.append(e.AnswerError(caller=waiting.event.caller, error=SliceRefused(waited)))
        if not self.waiting:
            return [], effects
        first = self.waiting[0]
        plan = self.placer.place(first.ask)
        if isinstance(plan, NoRoom):
            first.reason = plan.message
            return [], effects
        self.waiting.popleft()
        facts, granted = self._grant(dataclasses.replace(first.event, at_ms=event.at_ms), plan)
        return facts, [*effects, *granted]

    def forget_caller(self, caller: e.Caller) -> None:
        """Drop what a caller that went away was waiting for."""
        self.waiting = deque(waiting for waiting in self.waiting if waiting.event.caller != caller)

    def _answer(self, caller: e.Caller, slice_id: str, tenant: str | None) -> e.Effect:
        slice_ = self.slices.get(slice_id)
        if slice_ is None or (tenant is not None and slice_.tenant != tenant):
            return e.AnswerError(caller=caller, error=NotFound(f"there is no slice {slice_id}", slice_id=slice_id))
        return e.AnswerSlice(caller=caller, slice_id=slice_id)

    def _owned(self, slice_id: str, tenant: str | None, *, stranded_too: bool = False) -> Slice:
        """Return a slice this tenant may change; raise NotFound, LeaseLost or Conflict."""
        slice_ = self.slices.get(slice_id)
        if slice_ is None or (tenant is not None and slice_.tenant != tenant):
            raise NotFound(f"there is no slice {slice_id}", slice_id=slice_id)
        if slice_.state.is_over:
            raise LeaseLost(f"slice {slice_id} is {slice_.state}: {slice_.reason}", slice_id=slice_id, state=slice_.state.value)
        if slice_.state is SliceState.STRANDED and not stranded_too:
            raise Conflict(f"slice {slice_id} waits for a device ({slice_.reason}): try again in a moment", slice_id=slice_id)
        return slice_

    def _check_room(self, slice_: Slice, compute_pct: int, memory_mib: int) -> None:
        device = self.nodes[slice_.node].devices[slice_.device]
        more_compute, more_memory = compute_pct - slice_.compute_pct, memory_mib - slice_.memory_mib
        if more_compute > device.compute_free_pct or more_memory > device.memory_free_mib:
            raise SliceRefused(
                f"asked {compute_pct} % and {memory_mib} MiB for slice {slice_.slice_id}, which has {slice_.compute_pct} % and "
                f"{slice_.memory_mib} MiB; {slice_.device} on {slice_.node} has {device.compute_free_pct} % and "
                f"{device.memory_free_mib} MiB beside it",
                compute_pct=compute_pct,
                memory_mib=memory_mib,
                compute_free_pct=device.compute_free_pct,
                memory_free_mib=device.memory_free_mib,
            )

    def _use(self, use: SliceUse, event: e.AgentBeat) -> Facts:
        slice_id, slice_ = use.slice_id, self.slices.get(use.slice_id)
        if slice_ is None:
            return []
        if slice_.state is SliceState.LIVE and slice_.node == event.node:
            self.lately[slice_id] = Lately(use.memory_bytes, use.achieved_millipct, use.throttled_10s_ms)
        since_ms, device_ns, throttled_ns, calls = self._unrolled.get(slice_id, (event.now_ms, 0, 0, 0))
        self._unrolled[slice_id] = (since_ms, device_ns + use.device_ns, throttled_ns + use.throttled_ns, calls + use.calls)
        return self._roll_up(slice_id, event) if event.now_ms - since_ms >= ROLLUP_MS else []

    def _roll_up(self, slice_id: str, event: e.Event) -> Facts:
        _, device_ns, throttled_ns, calls = self._unrolled.pop(slice_id, (0, 0, 0, 0))
        if not (device_ns or throttled_ns or calls):
            return []
        return [f.SliceUsed(at_ms=event.at_ms, slice_id=slice_id, device_ns=device_ns, throttled_ns=throttled_ns, calls=calls)]

    def used(self, slice_: Slice) -> tuple[int, int, int]:
        """Return device ns, throttled ns and calls of a slice, the part not yet journalled included."""
        _, device_ns, throttled_ns, calls = self._unrolled.get(slice_.slice_id, (0, 0, 0, 0))
        return slice_.device_ns + device_ns, slice_.throttled_ns + throttled_ns, slice_.calls + calls

    def busy_millipct(self, device: Device) -> int:
        """Return the share of the last ten seconds in which a device executed, in thousandths of a per cent."""
        return sum(self.lately[slice_id].achieved_millipct for slice_id in device.slices if slice_id in self.lately)

    def heard_at_ms(self, node: str) -> int | None:
        """Return the wall time a node was last heard at; None where that was before this broker started."""
        return self._heard_at_ms.get(node)

    def _slices_on(self, node: str) -> list[Slice]:
        known = self.nodes.get(node)
        return [self.slices[i] for device in known.devices.values() for i in sorted(device.slices)] if known else []


def _ask(request: RequestSlice) -> Ask:
    return Ask(compute_pct=request.compute_pct, memory_mib=request.memory_mib, kind=request.kind)


def _ask_again(slice_: Slice) -> Ask:
    return Ask(compute_pct=slice_.compute_pct, memory_mib=slice_.memory_mib, kind=slice_.kind)


def _unknown_node(caller: e.Caller, node: str) -> e.Effect:
    return e.AnswerError(caller=caller, error=NotFound(f"there is no node {node[:64]}", node=node[:64]))


def _assignment(
    slice_: Slice,
    *,
    epoch: int | None = None,
    device: str | None = None,
    compute_pct: int | None = None,
    memory_mib: int | None = None,
) -> Assignment:
    return Assignment(
        slice_id=slice_.slice_id,
        epoch=slice_.epoch if epoch is None else epoch,
        tenant=slice_.tenant,
        device=slice_.device if device is None else device,
        compute_pct=slice_.compute_pct if compute_pct is None else compute_pct,
        memory_mib=slice_.memory_mib if memory_mib is None else memory_mib,
        policy=slice_.policy,
        hold=slice_.hold,
    )
