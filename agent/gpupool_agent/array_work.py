"""Batches of array operations inside quanta.

    main ──work_now──> as many small operations as fit a moment ──rest──> executor ──work──> turn, turn, ... ──> Done

A batch may hold thousands of operations, so it gives the device back after every turn; the quantum decides when it goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from gpupool_agent.array_batch import Batch
from gpupool_agent.array_store import ArrayStore
from gpupool_agent.call import Call, Done
from gpupool_agent.core.sessions import Link
from gpupool_agent.devices.base import Device
from gpupool_agent.quantum import Quantum
from gpupool_wire.errors import LeaseLost, RemoteProtocolError
from gpupool_wire.messages import Operate, Timing

_now = time.monotonic_ns

#: How long a batch keeps the device before it asks again: short against a quantum, long against asking (microseconds).
TURN_NS = 4_000_000
#: How long main works on a batch itself before it hands the rest on, and the operands up to which an operation is small: numpy
#: reads that much in some ten microseconds.
MAIN_NS = 1_000_000
SMALL_BYTES = 256 * 1024


class ArrayWork:
    """Does array work for all links of the worker."""

    def __init__(self, device: Device, quantum: Quantum, make_room: Callable[[], bool]) -> None:
        self._device = device
        self._quantum = quantum
        #: Unloads an idle model; returns whether there was one.
        self._make_room = make_room
        self._stores: dict[str, ArrayStore] = {}

    def __repr__(self) -> str:
        return f"<ArrayWork, {sum(map(len, self._stores.values()))} arrays of {len(self._stores)} links>"

    def store_of(self, link: Link) -> ArrayStore:
        """Return the arrays of a link; raise UsageError where the device has none. Main's own: nobody else makes stores."""
        store = self._stores.get(link.link_id)
        if store is None:
            store = self._stores[link.link_id] = ArrayStore(self._device.account, self._device.library)
        return store

    def link_gone(self, link_id: str) -> None:
        """Give back what a link held."""
        store = self._stores.pop(link_id, None)
        if store is not None:
            store.close()

    def work_now(self, call: Call) -> Done | None:
        """Do a batch on the main thread; None where there is no grant, or where what is left is too much for it."""
        batch = self._batch_of(call)
        if not self._quantum.try_enter():
            return None
        started_ns = _now()
        call.throttle_ns = started_ns - call.received_ns
        device_ns: int | None = None
        try:
            device_ns = self._device.timed(partial(_small_ones, batch, started_ns + MAIN_NS))
            if batch.is_done:
                return self._answered(call, batch, started_ns)
        finally:
            self._quantum.leave(device_ns)
        call.execute_ns += _now() - started_ns
        call.is_handed_on = True
        return None

    def work(self, call: Call, entered: Callable[[], None]) -> Done:
        """Do what is left of a batch on an executor. `entered` is called once it has its first turn."""
        batch = self._batch_of(call)
        if not call.is_handed_on:  # else main has begun with it
            call.queue_ns = _now() - call.received_ns
        while True:
            if call.link.has_ended:
                raise LeaseLost
            call.throttle_ns += self._quantum.enter()
            entered()
            started_ns = _now()
            device_ns: int | None = None
            try:
                device_ns = self._device.timed(partial(self._turn, batch, started_ns + TURN_NS))
                if batch.is_done:
                    return self._answered(call, batch, started_ns)
            finally:
                self._quantum.leave(device_ns)
            call.execute_ns += _now() - started_ns

    def _batch_of(self, call: Call) -> Batch:
        if call.batch is None:
            if not isinstance(call.message, Operate):
                raise RemoteProtocolError(f"{type(call.message).__name__} holds no array operations")
            call.batch = Batch(call.message, call.frames, call.arrays)
            call.frames = []
        return call.batch

    def _turn(self, batch: Batch, until_ns: int) -> None:
        while not batch.is_done:
            batch.advance(self._make_room)
            if _now() >= until_ns:
                return

    def _answered(self, call: Call, batch: Batch, started_ns: int) -> Done:
        call.execute_ns += _now() - started_ns
        timing = Timing(queue_ns=call.queue_ns, throttle_ns=call.throttle_ns, execute_ns=call.execute_ns)
        reply, frames = batch.answer(timing)
        return Done(call=call, reply=reply, frames=frames)


def _small_ones(batch: Batch, until_ns: int) -> None:
    while not batch.is_done and batch.operand_bytes() <= SMALL_BYTES and batch.advance() and _now() < until_ns:
        pass
