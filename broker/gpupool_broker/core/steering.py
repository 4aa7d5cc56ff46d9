"""What people decide by hand: slices pause and go on, room is reserved, idle slices are moved together."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable

from gpupool_broker.core import events as e
from gpupool_broker.core import facts as f
from gpupool_broker.core.defrag import Move, plan_defrag
from gpupool_broker.core.lives import Outcome, ask_again
from gpupool_broker.core.placement import Placer
from gpupool_broker.core.reserving import Reserving
from gpupool_broker.core.scheduling import SCHEDULER, Rules
from gpupool_broker.core.state import Reservation, SliceState
from gpupool_wire.errors import Conflict, GpupoolError, NotFound, SliceRefused


class Steering(Reserving):
    """The scheduler, and the handlers of what people ask of it beside slices."""

    def __init__(self, ids: Callable[[], str], placer: Placer | None = None, rules: Rules | None = None) -> None:
        super().__init__(ids, placer, rules)
        #: Moves that an admin has asked for and that are not made yet.
        self._moves: deque[Move] = deque()

    def on_pause_requested(self, event: e.PauseRequested) -> Outcome:
        """Pause a slice."""
        if event.request_id in self._answers:
            return [], [self._answer(event.caller, event.slice_id, event.tenant)]
        try:
            slice_ = self._owned(event.slice_id, event.tenant)
            if slice_.paused_by and slice_.paused_by != SCHEDULER:
                raise Conflict(f"slice {event.slice_id} is paused already, by {slice_.paused_by}")
        except GpupoolError as error:
            return [], [e.AnswerError(caller=event.caller, error=error)]
        facts, effects = self._pause(slice_, event, event.by, "asked for", event.request_id)
        return facts, [*effects, e.AnswerSlice(caller=event.caller, slice_id=slice_.slice_id)]

    def on_resume_requested(self, event: e.ResumeRequested) -> Outcome:
        """Let a paused slice go on, where its quota and its device have room."""
        if event.request_id in self._answers:
            return [], [self._answer(event.caller, event.slice_id, event.tenant)]
        try:
            slice_ = self._owned(event.slice_id, event.tenant)
            if not slice_.paused_by:
                raise Conflict(f"slice {event.slice_id} is not paused")
            self.quotas.check(slice_.account, slice_.compute_pct, 0, 0)
            open_pct = self._device_of(slice_).open_pct
            if open_pct < slice_.compute_pct:
                raise SliceRefused(
                    f"slice {event.slice_id} needs {slice_.compute_pct} % to go on; {slice_.device} on {slice_.node} has "
                    f"{open_pct} % now: it goes on by itself where the scheduler paused it, else try again later",
                    compute_pct=slice_.compute_pct,
                    compute_free_pct=open_pct,
                )
        except GpupoolError as error:
            return [], [e.AnswerError(caller=event.caller, error=error)]
        facts, effects = self._resume(slice_, event, event.by, event.request_id)
        return facts, [*effects, e.AnswerSlice(caller=event.caller, slice_id=slice_.slice_id)]

    def on_defrag_requested(self, event: e.DefragRequested) -> Outcome:
        """Plan moves of idle slices; they are made one a tick."""
        plan = plan_defrag(self, event.at_most_pct)
        self._moves.extend(plan.moves)
        return [], [e.AnswerDone(caller=event.caller, value=plan)]

    def _move_one(self, event: e.Ticked) -> Outcome | None:
        """Make the next planned move of an idle slice, if it still stands where it did and has room where it goes."""
        while self._moves:
            move = self._moves.popleft()
            slice_, node = self.slices.get(move.slice_id), self.nodes.get(move.plan.node)
            is_there = slice_ is not None and (slice_.node, slice_.device) == (move.from_node, move.from_device)
            if slice_ is None or node is None or not is_there or slice_.state is not SliceState.LIVE or not node.takes_slices:
                continue
            device = node.devices.get(move.plan.device)
            if device and device.open_pct >= slice_.compute_pct and ask_again(slice_).fits(device):
                return self._move(slice_, move.plan, event, "idle slices are moved together")
        return None

    def on_reservation_requested(self, event: e.ReservationRequested) -> Outcome:
        """Make a reservation."""
        if known := self._answers.get(event.request_id):
            return [], [e.AnswerDone(caller=event.caller, value=known)]
        wanted = Reservation(
            reservation_id=self.new_id("r"),
            tenant=event.tenant,
            project=event.project,
            count=event.count,
            compute_pct=event.compute_pct,
            memory_mib=event.memory_mib,
            kind=event.kind,
            start_ms=event.start_at_ms,
            end_ms=event.end_at_ms,
            by=event.by,
        )
        try:
            self.check_reservation(wanted, event.at_ms)
        except GpupoolError as error:
            return [], [e.AnswerError(caller=event.caller, error=error)]
        fact = f.ReservationMade(at_ms=event.at_ms, request_id=event.request_id, **dataclasses.asdict(wanted))
        return [fact], [e.AnswerDone(caller=event.caller, value=wanted.reservation_id)]

    def on_reservation_cancelled(self, event: e.ReservationCancelled) -> Outcome:
        """End a reservation before its time."""
        reservation = self.reservations.get(event.reservation_id)
        if reservation is None:
            error = NotFound(f"there is no reservation {event.reservation_id[:64]} (any more)")
            return [], [e.AnswerError(caller=event.caller, error=error)]
        facts = self.end_reservation(reservation, event, f"cancelled by {event.by}")
        return facts, [e.AnswerDone(caller=event.caller, value=event.reservation_id)]

    def _answer(self, caller: e.Caller, slice_id: str, tenant: str | None) -> e.Effect:
        slice_ = self.slices.get(slice_id)
        if slice_ is None or (tenant is not None and slice_.tenant != tenant):
            return e.AnswerError(caller=caller, error=NotFound(f"there is no slice {slice_id}", slice_id=slice_id))
        return e.AnswerSlice(caller=caller, slice_id=slice_id)
