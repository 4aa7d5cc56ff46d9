"""Calls that wait together, executed as one: gathered, joined along the first dimension, split again.

    call, in its turn ──gather──> calls alike that wait ──way──┬─ TOGETHER: join ──run──> split
                                                               └─ BOTH: run each ... join ──run──> split, compare bits
                                                                  (callers get what running alone gave)

Nobody waits for others to come: only what waits already is gathered. Whatever goes wrong, each call is run alone after that.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpupool_agent.call import Call, Done
from gpupool_agent.core.meetings import Likeness, Meetings, Way, largest_count
from gpupool_agent.devices.base import Device, Program
from gpupool_agent.quantum import Quantum
from gpupool_agent.running import Running
from gpupool_agent.waiting import Waiting
from gpupool_wire.errors import ExecutionFailed, RemoteProtocolError
from gpupool_wire.messages import Run, Timing
from gpupool_wire.tensors import SeenSpec, TensorSpec, Value

_log = logging.getLogger(__name__)
_now = time.monotonic_ns

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """Calls alike, by ascending rows, and how they are to be executed."""

    calls: list[Call]
    likeness: Likeness
    rows: tuple[int, ...]
    way: Way
    meetings: Meetings


@dataclass(slots=True, kw_only=True)
class _Share:
    """What one call has of a gathering's executions."""

    values: Sequence[Value]
    execute_ns: int
    batched: int = 0


class _Worked:
    """What was worked since it was made: device time where the driver measures it, else processor time of this thread.

    Wall time tells little: it is mostly what other threads and slices did meanwhile.
    """

    def __init__(self, device_ns: list[int]) -> None:
        self._device_ns = device_ns
        self._before = len(device_ns)
        self._began_ns = time.thread_time_ns()

    @property
    def ns(self) -> int:
        return sum(self._device_ns[self._before :]) or time.thread_time_ns() - self._began_ns


class Joining:
    """Gathers calls and executes them as one. Used by several threads."""

    def __init__(self, device: Device, quantum: Quantum, running: Running, waiting: Waiting) -> None:
        self._device = device
        self._quantum = quantum
        self._running = running
        self._waiting = waiting
        #: One executor gathers at a time; what meetings have shown is looked at and changed inside.
        self._lock = threading.Lock()

    def gather(self, call: Call) -> Gathering | None:
        """Return a call that is in its turn with others that wait; None where it is to be executed alone."""
        if not len(self._waiting) or (likeness := _likeness(call)) is None:
            return None
        shared, meetings = call.program, call.program.meetings
        with self._lock:
            if meetings.are_apart(likeness):
                return None
            alike = self._waiting.like(lambda other: other.shared is shared and _likeness(other) == likeness)
            # The other executors want their share of them: what one does in a row, two do at the same time.
            share = -(-(1 + len(alike)) // self._device.parallel_calls)
            count = largest_count(share, shared.latest_ns or 0)
            chosen = sorted([call, *alike[: count - 1]], key=lambda one: one.rows)
            rows = tuple(one.rows for one in chosen)
            if count == 1 or (way := meetings.way(likeness, rows)) is Way.ALONE:
                return None
            taken = self._waiting.take(one for one in chosen if one is not call)
        if len(taken) < count - 1:
            self._waiting.put_back(taken)
            return None
        return Gathering(calls=chosen, likeness=likeness, rows=rows, way=way, meetings=meetings)

    def run(self, gathering: Gathering, program: Program, *, throttle_ns: int) -> list[Done] | None:
        """Execute calls inside the quantum, which ends for them here; None where they have to be run alone after all.

        `throttle_ns` is what the first of them waited for its turn.
        """
        entered_ns = _now()
        device_ns: list[int] = []

        def answers() -> list[Done]:
            return [
                self._answer(call, program, share, entered_ns, throttle_ns)
                for call, share in zip(gathering.calls, shares, strict=True)
            ]

        try:
            try:
                for call in gathering.calls:
                    self._running.prepare(call)
                shares = (self._both_ways if gathering.way is Way.BOTH else self._as_one)(gathering, program, device_ns)
                done = answers() if self._device.does_host_work else None
            finally:
                self._quantum.leave(sum(device_ns) if device_ns else None)
            return done or answers()
        except Exception as error:  # noqa: BLE001 - whichever call it was, run alone it gets its own error
            _log.info("calls are run alone, together they failed: %s", error, extra={"action": "batch_failed"})
            with self._lock:
                gathering.meetings.postpone(gathering.likeness, gathering.rows)
            return None

    def _answer(self, call: Call, program: Program, share: _Share, entered_ns: int, throttle_ns: int) -> Done:
        waited_ns = entered_ns - call.received_ns
        throttled_ns = min(throttle_ns, waited_ns)
        timing = Timing(
            queue_ns=waited_ns - throttled_ns, throttle_ns=throttled_ns, execute_ns=share.execute_ns, batched=share.batched
        )
        return self._running.answer(call, _message(call), program, share.values, timing)

    def _both_ways(self, gathering: Gathering, program: Program, device_ns: list[int]) -> list[_Share]:
        """Execute each alone, which is what callers get, and all as one; compare."""
        shares, worked = [], _Worked(device_ns)
        for call in gathering.calls:
            started_ns = _now()
            values = self._executed(program, call, _feed(call), device_ns)
            shares.append(_Share(values=values, execute_ns=_now() - started_ns))
        alone_ns = worked.ns
        gathering.calls[0].program.latest_ns = shares[-1].execute_ns
        if _are_all_the_same(gathering.calls):
            with self._lock:  # a model that lets rows depend on one another would not show it
                gathering.meetings.postpone(gathering.likeness, gathering.rows)
            return shares
        worked = _Worked(device_ns)
        joined = self._as_one(gathering, program, device_ns)
        together_ns = worked.ns
        same = all(_have_same_bits(alone.values, split.values) for alone, split in zip(shares, joined, strict=True))
        with self._lock:
            gathering.meetings.shown(gathering.likeness, gathering.rows, same=same, alone_ns=alone_ns, together_ns=together_ns)
        if not same:
            model = gathering.calls[0].program.sha256[:12]
            _log.info("calls of model %s differ where they are run as one", model, extra={"action": "batches_differ"})
        return shares

    def _as_one(self, gathering: Gathering, program: Program, device_ns: list[int]) -> list[_Share]:
        """Execute all as one; raise ExecutionFailed where the model's outputs do not have the rows of its inputs."""
        started_ns = _now()
        feeds = [_feed(call) for call in gathering.calls]
        feed: dict[str, Value] = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        values = self._executed(program, gathering.calls[0], feed, device_ns)
        ends = list(itertools.accumulate(gathering.rows))
        split = [_split(value, ends) for value in values]
        execute_ns, count = _now() - started_ns, len(gathering.calls)
        return [_Share(values=list(parts), execute_ns=execute_ns, batched=count) for parts in zip(*split, strict=True)]

    def _executed(self, program: Program, call: Call, feed: Mapping[str, Value], device_ns: list[int]) -> list[Value]:
        message = _message(call)
        execution = self._device.run(program, feed, message.outputs, message.run_config)
        if execution.device_ns is not None:
            device_ns.append(execution.device_ns)
        return execution.values


def _likeness(call: Call) -> Likeness | None:
    """Return what a call has in common with those it may be executed with; None where it is executed alone."""
    if call.likeness is None and not call.is_alone:
        call.likeness = _found_likeness(call)
        call.is_alone = call.likeness is None
    return None if call.is_alone or call.link.has_ended else call.likeness


def _found_likeness(call: Call) -> Likeness | None:
    message = call.message
    if not isinstance(message, Run) or not message.may_batch or message.keep or not call.program.has_free_rows:
        return None
    if {name for name, _ in message.feed} != {info.name for info in call.program.surface.inputs}:
        return None  # initializers fed anew have rows of their own
    inputs, rows = [], set()
    for name, spec in message.feed:
        if not isinstance(spec, TensorSpec | SeenSpec) or not spec.shape or not spec.shape[0]:
            return None
        rows.add(spec.shape[0])
        inputs.append((name, spec.dtype, tuple(spec.shape[1:])))
    if len(rows) != 1:
        return None
    call.rows = rows.pop()
    outputs = None if message.outputs is None else tuple(message.outputs)
    return Likeness(tuple(sorted(inputs)), outputs, tuple(sorted(message.run_config.items())))


def _message(call: Call) -> Run:
    if not isinstance(call.message, Run):
        raise RemoteProtocolError(f"{type(call.message).__name__} is not a call for an executor")
    return call.message


def _feed(call: Call) -> dict[str, Any]:
    if call.feed is None:
        raise RemoteProtocolError("a call was not prepared")
    return call.feed


def _split(value: Value, ends: Sequence[int]) -> list[Array]:
    """Return the rows of each call, views of the whole. Raises ExecutionFailed where there are not as many."""
    if not isinstance(value, np.ndarray) or not value.ndim or len(value) != ends[-1]:
        raise ExecutionFailed(f"an output has {getattr(value, 'shape', type(value))}, not the {ends[-1]} rows of the inputs")
    return [value[start:end] for start, end in itertools.pairwise([0, *ends])]


def _are_all_the_same(calls: Sequence[Call]) -> bool:
    first = _feed(calls[0])
    return all(_have_same_bits(list(first.values()), [_feed(call)[name] for name in first]) for call in calls[1:])


def _have_same_bits(ones: Sequence[Value], others: Sequence[Value]) -> bool:
    return all(_bits(one) == _bits(other) for one, other in zip(ones, others, strict=True))


def _bits(value: Value) -> tuple[object, ...]:
    """Return a tensor's dtype, shape and bytes: NaNs and signed zeros count as what they are."""
    array = np.ascontiguousarray(value)
    return array.dtype, array.shape, array.tobytes()
