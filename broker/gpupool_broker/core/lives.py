"""What happens to slices once they are granted: they change their size, pause, move, and end, and what they used is added up.

Decisions without events: `Pool` says when, these methods say what follows. They read the books and change nothing of them; what
they keep beside is clocks, and use that is not journalled yet.
"""

from __future__ import annotations

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.books import Books
from gpupool_broker.core.draining import Draining
from gpupool_broker.core.elastic import shrink
from gpupool_broker.core.placement import Ask, Placer, Plan
from gpupool_broker.core.state import Device, Lately, Node, Slice, SliceState
from gpupool_wire.errors import Conflict, LeaseLost, NotFound, SliceRefused
from gpupool_wire.limits import LEASE_S
from gpupool_wire.messages import Assignment, SliceUse

#: Use is journalled per slice at most this often; what is left is journalled when the slice ends.
ROLLUP_MS = 10_000
BEAT_MS = 1_000

Facts = list[f.Fact]
Effects = list[e.Effect]
Outcome = tuple[Facts, Effects]


class Lives(Books):
    """The books, and what follows for the slices in them."""

    def __init__(self, placer: Placer | None = None) -> None:
        super().__init__(placer)
        self._draining = Draining()
        #: By slice: since when, device ns, throttled ns and calls that are not journalled yet.
        self._unrolled: dict[str, tuple[int, int, int, int]] = {}

    # ── sizes ──────

    def _resize(self, slice_: Slice, event: e.ResizeRequested, now: e.Event, compute: int, memory: int) -> Outcome:
        facts, effects = self._room_on(self._device_of(slice_), compute - slice_.compute_pct, now, but=slice_)
        fact = f.SliceResized(
            at_ms=now.at_ms,
            slice_id=slice_.slice_id,
            epoch=slice_.epoch + 1,
            compute_pct=compute,
            memory_mib=memory,
            request_id=event.request_id,
        )
        assignment = self.assignment_of(slice_, epoch=fact.epoch, compute_pct=compute, memory_mib=memory)
        answer = e.AnswerSlice(caller=event.caller, slice_id=slice_.slice_id)
        return [*facts, fact], [*effects, e.AssignSlice(node=slice_.node, slice=assignment), answer]

    def _room_on(self, device: Device, compute_pct: int, event: e.Event, *, but: Slice | None = None) -> Outcome:
        """Take back from the elastic slices of a device what is missing for `compute_pct` more."""
        sizes: dict[str, int] = {}
        self._make_room_on(device, compute_pct, sizes, but=but)
        return self._set_sizes(sizes, event, "somebody asked for its surplus")

    def _make_room_on(self, device: Device, compute_pct: int, sizes: dict[str, int], *, but: Slice | None = None) -> None:
        """Add to `sizes`, which are decided already, what makes room for `compute_pct` more on a device."""
        if compute_pct <= device.compute_free_pct or not device.surplus_pct:
            return
        elastic = [self.slices[i] for i in device.slices if i in self.elastic and (but is None or i != but.slice_id)]
        freed = sum(slice_.compute_pct - sizes.get(slice_.slice_id, slice_.compute_pct) for slice_ in elastic)
        shrink(elastic, compute_pct - device.compute_free_pct - freed, sizes)

    def _set_sizes(self, sizes: dict[str, int], event: e.Event, reason: str) -> Outcome:
        facts: Facts = []
        effects: Effects = []
        for slice_id, compute in sizes.items():
            slice_ = self.slices[slice_id]
            epoch = slice_.epoch + 1
            facts.append(
                f.SliceResized(
                    at_ms=event.at_ms,
                    slice_id=slice_id,
                    epoch=epoch,
                    compute_pct=compute,
                    memory_mib=slice_.memory_mib,
                    reason=reason,
                )
            )
            effects.append(e.AssignSlice(node=slice_.node, slice=self.assignment_of(slice_, epoch=epoch, compute_pct=compute)))
        return facts, effects

    def _pause(self, slice_: Slice, event: e.Event, by: str, reason: str, request_id: str = "") -> Outcome:
        epoch = slice_.epoch + 1
        fact = f.SlicePaused(
            at_ms=event.at_ms, slice_id=slice_.slice_id, epoch=epoch, by=by, reason=reason, request_id=request_id
        )
        return [fact], [e.AssignSlice(node=slice_.node, slice=self.assignment_of(slice_, epoch=epoch, is_paused=True))]

    def _resume(self, slice_: Slice, event: e.Event, by: str, request_id: str = "") -> Outcome:
        """Let a paused slice go on; its device has room for it."""
        facts, effects = self._room_on(self._device_of(slice_), slice_.compute_pct, event)
        epoch = slice_.epoch + 1
        fact = f.SliceResumed(at_ms=event.at_ms, slice_id=slice_.slice_id, epoch=epoch, by=by, request_id=request_id)
        assignment = self.assignment_of(slice_, epoch=epoch, is_paused=False)
        return [*facts, fact], [*effects, e.AssignSlice(node=slice_.node, slice=assignment)]

    def _notice(self, slice_: Slice, event: e.Event, reason: str, notice_ms: int = 0, request_id: str = "") -> Outcome:
        """Tell a slice that it will be evicted; with an empty reason, that it will not."""
        epoch = slice_.epoch + 1
        fact = f.SliceNoticed(
            at_ms=event.at_ms,
            slice_id=slice_.slice_id,
            epoch=epoch,
            reason=reason,
            notice_ms=notice_ms,
            request_id=request_id,
        )
        assignment = self.assignment_of(slice_, epoch=epoch, notice=reason[:512], notice_ms=notice_ms)
        return [fact], [e.AssignSlice(node=slice_.node, slice=assignment)]

    # ── ends ──────

    def _end(self, slice_: Slice, event: e.Event, how: str, reason: str, request_id: str = "") -> Outcome:
        epoch = slice_.epoch + 1
        facts = self._roll_up(slice_.slice_id, event)
        facts.append(
            f.SliceEnded(at_ms=event.at_ms, slice_id=slice_.slice_id, epoch=epoch, how=how, reason=reason, request_id=request_id)
        )
        if slice_.state is not SliceState.LIVE:
            return facts, []
        return facts, [e.RevokeSlice(node=slice_.node, slice_id=slice_.slice_id, epoch=epoch, reason=reason)]

    def _lose_node(self, node: Node, event: e.Event, reason: str) -> Outcome:
        facts: Facts = [f.NodeLost(at_ms=event.at_ms, node=node.node, reason=reason)]
        for slice_ in self._slices_on(node.node):
            facts += self._strand(slice_, event, f"{node.node} was lost: {reason}")
        return facts, []

    def _strand(self, slice_: Slice, event: e.Event, reason: str) -> Facts:
        """Take a slice from a device that is gone; room that is only reserved is kept elsewhere instead."""
        if slice_.state is SliceState.RESERVED:
            return self._end(slice_, event, "lost", reason)[0]
        return [f.SliceStranded(at_ms=event.at_ms, slice_id=slice_.slice_id, epoch=slice_.epoch + 1, reason=reason)]

    def _replace_one(self, event: e.Ticked) -> Outcome | None:
        """Place the first stranded slice that fits somewhere, or end the first whose time is over."""
        for slice_id, since_ms in self._stranded.items():
            slice_ = self.slices[slice_id]
            if since_ms is None:
                self._stranded[slice_id] = since_ms = event.now_ms
            if event.now_ms - since_ms > LEASE_S * 1000:
                return self._end(slice_, event, "expired", f"no device had room for {LEASE_S:g} s after its own was lost")
            plan = self.placer.find(ask_again(slice_))
            if plan is not None:
                return self._settle(slice_, plan, slice_.epoch + 1, event)
        return None

    def _drain_one(self, event: e.Ticked) -> Outcome | None:
        """Move the first slice of a drained node that fits elsewhere, or end the first whose time is over."""
        for node in self.nodes.values():
            if node.drain_ms is None or not node.is_up:
                continue
            is_over = self._draining.is_over(node.node, node.drain_ms, event.now_ms)
            for slice_ in self._slices_on(node.node):
                if slice_.state is SliceState.RESERVED:
                    return self._end(slice_, event, "released", f"{node.node} is drained")
                plan = self.placer.place(ask_again(slice_))
                if isinstance(plan, Plan):
                    return self._move(slice_, plan, event, f"{node.node} is drained")
                if is_over:
                    return self._end(
                        slice_, event, "expired", f"{node.node} is drained, and nowhere else was room: {plan.message}"
                    )
        return None

    def _move(self, slice_: Slice, plan: Plan, event: e.Event, reason: str) -> Outcome:
        """Take a live slice from its device and place it on another. Its client finds it there by asking."""
        left = slice_.epoch + 1
        facts, effects = self._settle(slice_, plan, left + 1, event)
        stranded = f.SliceStranded(at_ms=event.at_ms, slice_id=slice_.slice_id, epoch=left, reason=reason)
        # There before it ends here: a client that is told to look finds it.
        revoke = e.RevokeSlice(node=slice_.node, slice_id=slice_.slice_id, epoch=left, reason=reason)
        return [*self._roll_up(slice_.slice_id, event), stranded, *facts], [*effects, revoke]

    def _settle(self, slice_: Slice, plan: Plan, epoch: int, event: e.Event) -> Outcome:
        """Give a slice without a place one; an elastic one begins there with its least."""
        device = self.nodes[plan.node].devices[plan.device]
        compute = plan.compute_pct
        facts, effects = self._room_on(device, 0 if slice_.paused_by else compute, event)
        fact = f.SliceMoved(
            at_ms=event.at_ms, slice_id=slice_.slice_id, epoch=epoch, node=plan.node, device=plan.device, compute_pct=compute
        )
        assignment = self.assignment_of(slice_, epoch=epoch, device=plan.device, compute_pct=compute)
        return [*facts, fact], [*effects, e.AssignSlice(node=plan.node, slice=assignment)]

    # ── what may be done ──────

    def _owned(self, slice_id: str, tenant: str | None, *, stranded_too: bool = False) -> Slice:
        """Return a slice this tenant may change; raise NotFound, LeaseLost or Conflict."""
        slice_ = self.slices.get(slice_id)
        if slice_ is None or (tenant is not None and slice_.tenant != tenant):
            raise NotFound(f"there is no slice {slice_id}", slice_id=slice_id)
        if slice_.state.is_over:
            raise LeaseLost(f"slice {slice_id} is {slice_.state}: {slice_.reason}", slice_id=slice_id, state=slice_.state.value)
        if slice_.state is SliceState.RESERVED:
            raise Conflict(f"{slice_id} is room that {slice_.reservation} keeps, not a slice: cancel the reservation to free it")
        if slice_.state is SliceState.STRANDED and not stranded_too:
            raise Conflict(f"slice {slice_id} waits for a device ({slice_.reason}): try again in a moment", slice_id=slice_id)
        return slice_

    def _check_room(self, slice_: Slice, compute_pct: int, memory_mib: int) -> None:
        device = self._device_of(slice_)
        more_compute, more_memory = compute_pct - slice_.compute_pct, memory_mib - slice_.memory_mib
        open_pct = device.open_pct - slice_.surplus_pct
        if more_compute > open_pct or more_memory > device.memory_free_mib:
            raise SliceRefused(
                f"asked {compute_pct} % and {memory_mib} MiB for slice {slice_.slice_id}, which has {slice_.compute_pct} % and "
                f"{slice_.memory_mib} MiB; {slice_.device} on {slice_.node} has {open_pct} % and "
                f"{device.memory_free_mib} MiB beside it",
                compute_pct=compute_pct,
                memory_mib=memory_mib,
                compute_free_pct=open_pct,
                memory_free_mib=device.memory_free_mib,
            )

    # ── use ──────

    def _use(self, use: SliceUse, event: e.AgentBeat) -> Facts:
        slice_id, slice_ = use.slice_id, self.slices.get(use.slice_id)
        if slice_ is None:
            return []
        if slice_.state is SliceState.LIVE and slice_.node == event.node:
            self.lately[slice_id] = _lately(use)
        since_ms, device_ns, throttled_ns, calls = self._unrolled.get(slice_id, (event.now_ms, 0, 0, 0))
        self._unrolled[slice_id] = (since_ms, device_ns + use.device_ns, throttled_ns + use.throttled_ns, calls + use.calls)
        # The last words of a slice that has ended are journalled at once: no more come, so nothing else would.
        return self._roll_up(slice_id, event) if event.now_ms - since_ms >= ROLLUP_MS or slice_.state.is_over else []

    def _roll_up(self, slice_id: str, event: e.Event) -> Facts:
        since_ms, device_ns, throttled_ns, calls = self._unrolled.pop(slice_id, (0, 0, 0, 0))
        if not (device_ns or throttled_ns or calls):
            return []
        # The first of the beats in it told of the second before.
        span_ms = event.now_ms - since_ms + BEAT_MS
        used = f.SliceUsed(
            at_ms=event.at_ms,
            slice_id=slice_id,
            device_ns=device_ns,
            throttled_ns=throttled_ns,
            calls=calls,
            span_ms=span_ms,
        )
        return [used]

    def used(self, slice_: Slice) -> tuple[int, int, int]:
        """Return device ns, throttled ns and calls of a slice, the part not yet journalled included."""
        _, device_ns, throttled_ns, calls = self._unrolled.get(slice_.slice_id, (0, 0, 0, 0))
        return slice_.device_ns + device_ns, slice_.throttled_ns + throttled_ns, slice_.calls + calls

    def assignment_of(self, slice_: Slice, **changes: object) -> Assignment:
        """Return a slice as its agent should have it, with what is about to change."""
        device_ns, throttled_ns, calls = self.used(slice_)
        now = {
            "slice_id": slice_.slice_id,
            "epoch": slice_.epoch,
            "tenant": slice_.tenant,
            "device": slice_.device,
            "compute_pct": slice_.compute_pct,
            "memory_mib": slice_.memory_mib,
            "policy": slice_.policy,
            "hold": slice_.hold,
            "is_paused": bool(slice_.paused_by),
            "notice": slice_.notice,
            "notice_ms": slice_.notice_ms,
            "device_ns": device_ns,
            "throttled_ns": throttled_ns,
            "calls": calls,
        }
        return Assignment(**now | changes)  # type: ignore[arg-type]

    def busy_millipct(self, device: Device) -> int:
        """Return the share of the last ten seconds in which a device executed, in thousandths of a per cent."""
        return sum(self.lately[slice_id].achieved_millipct for slice_id in device.slices if slice_id in self.lately)

    def _device_of(self, slice_: Slice) -> Device:
        return self.nodes[slice_.node].devices[slice_.device]

    def _slices_on(self, node: str) -> list[Slice]:
        known = self.nodes.get(node)
        return [self.slices[i] for device in known.devices.values() for i in sorted(device.slices)] if known else []


def ask_again(slice_: Slice) -> Ask:
    return Ask(
        compute_pct=0 if slice_.tflops else slice_.compute_min_pct or slice_.compute_pct,
        memory_mib=slice_.memory_mib,
        kind=slice_.kind,
        tflops=slice_.tflops,
        models=frozenset(slice_.models),
        labels=frozenset(slice_.node_labels.items()),
        at_least=frozenset(slice_.at_least.items()),
    )


def first_assignment(fact: f.SliceGranted) -> Assignment:
    """Return a slice as its agent gets it first."""
    return Assignment(
        slice_id=fact.slice_id,
        epoch=fact.epoch,
        tenant=fact.tenant,
        device=fact.device,
        compute_pct=fact.compute_pct,
        memory_mib=fact.memory_mib,
        policy=fact.policy,
        hold=fact.hold,
    )


def _lately(use: SliceUse) -> Lately:
    return Lately(
        memory_bytes=use.memory_bytes,
        achieved_millipct=use.achieved_millipct,
        throttled_ms=use.throttled_10s_ms,
        model_count=use.model_count,
        models=tuple(use.models),
    )
