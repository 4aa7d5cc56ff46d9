"""What happens to slices once they are granted: they change their size, move, and end, and what they used is added up.

Decisions without events: `Pool` says when, these methods say what follows. They read the books and change nothing of them; what
they keep beside is clocks, and use that is not journalled yet.
"""

from __future__ import annotations

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.books import Books
from gpupool_broker.core.draining import Draining
from gpupool_broker.core.placement import Ask, Placer, Plan
from gpupool_broker.core.state import Device, Lately, Node, Slice, SliceState
from gpupool_wire.errors import Conflict, LeaseLost, NotFound, SliceRefused
from gpupool_wire.limits import LEASE_S
from gpupool_wire.messages import Assignment, SliceUse

#: Use is journalled per slice at most this often; what is left is journalled when the slice ends.
ROLLUP_MS = 10_000

Facts = list[f.Fact]
Effects = list[e.Effect]


class Lives(Books):
    """The books, and what follows for the slices in them."""

    def __init__(self, placer: Placer | None = None) -> None:
        super().__init__(placer)
        self._draining = Draining()
        #: By slice: since when, device ns, throttled ns and calls that are not journalled yet.
        self._unrolled: dict[str, tuple[int, int, int, int]] = {}

    def _resize(self, slice_: Slice, event: e.ResizeRequested, now: e.Event, compute: int, memory: int) -> tuple[Facts, Effects]:
        fact = f.SliceResized(
            at_ms=now.at_ms,
            slice_id=slice_.slice_id,
            epoch=slice_.epoch + 1,
            compute_pct=compute,
            memory_mib=memory,
            request_id=event.request_id,
        )
        assignment = assignment_of(slice_, epoch=fact.epoch, compute_pct=compute, memory_mib=memory)
        answer = e.AnswerSlice(caller=event.caller, slice_id=slice_.slice_id)
        return [fact], [e.AssignSlice(node=slice_.node, slice=assignment), answer]

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
                assignment = assignment_of(slice_, epoch=epoch, device=plan.device)
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
            e.AssignSlice(node=plan.node, slice=assignment_of(slice_, epoch=came, device=plan.device)),
            e.RevokeSlice(node=slice_.node, slice_id=slice_.slice_id, epoch=left, reason=reason),
        ]

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

    def _slices_on(self, node: str) -> list[Slice]:
        known = self.nodes.get(node)
        return [self.slices[i] for device in known.devices.values() for i in sorted(device.slices)] if known else []


def _ask_again(slice_: Slice) -> Ask:
    return Ask(compute_pct=slice_.compute_pct, memory_mib=slice_.memory_mib, kind=slice_.kind)


def assignment_of(
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
