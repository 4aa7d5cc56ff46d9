"""A model's call: its inputs from frames and from the device, one execution, its outputs to frames or to stay.

feed ──frames──> tensors ─┐                     ┌─> frames ──> Result
     ──ids─────> arrays ──┴──> device.run ──────┴─> arrays that are kept, by id
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import msgspec
import numpy as np

from gpupool_agent.alignment import aligned
from gpupool_agent.array_store import Broken
from gpupool_agent.call import Call, Done
from gpupool_agent.devices.base import Device, Program
from gpupool_agent.quantum import Quantum
from gpupool_agent.tensor_cache import TensorCache
from gpupool_wire.coding import Coder
from gpupool_wire.coding.sizes import coded_nbytes
from gpupool_wire.errors import ExecutionFailed, RemoteProtocolError, UsageError
from gpupool_wire.messages import Result, Run, Timing
from gpupool_wire.tensors import Buffer, HeldSpec, SeenSpec, TensorSpec, Value, ValueSpec, name_of, pack_value, unpack_values

_now = time.monotonic_ns


class Running:
    """Runs programs. Used by several threads."""

    def __init__(self, device: Device, quantum: Quantum, tensors: TensorCache) -> None:
        self._device = device
        self._quantum = quantum
        self._tensors = tensors

    def prepare_early(self, call: Call) -> None:
        """Prepare a call before its turn, where that takes nothing of the device."""
        if not self._device.does_host_work:
            self.prepare(call)

    def run(self, call: Call, program: Program, *, queue_ns: int, throttle_ns: int) -> Done:
        """Run a call inside the quantum, which ends for it here, whatever happens."""
        device_ns: int | None = None
        done: Done | None = None
        try:
            self.prepare(call)
            message, shared = call.message, call.program
            if not isinstance(message, Run) or call.feed is None:
                raise RemoteProtocolError(f"{type(message).__name__} is not a call for an executor")
            started_ns = _now()
            held = [name for name, spec in message.feed if isinstance(spec, HeldSpec)]
            kept = [name for name, _ in message.keep]
            execution = self._device.run(program, call.feed, message.outputs, message.run_config, held=held, keep=kept)
            device_ns, executed_ns = execution.device_ns, _now() - started_ns
            timing = Timing(queue_ns=queue_ns, throttle_ns=throttle_ns, execute_ns=executed_ns)
            if self._device.does_host_work:
                done = self.answer(call, message, program, execution.values, timing)
        finally:
            self._quantum.leave(device_ns)
        shared.latest_ns = executed_ns
        return done or self.answer(call, message, program, execution.values, timing)

    def answer(self, call: Call, message: Run, program: Program, values: Sequence[Value], timing: Timing) -> Done:
        """Return a call with its results, packed as they travel; those that are kept are held from now on."""
        specs, frames = self._packed(call, message, program, values)
        if call.coding_ns:
            timing = msgspec.structs.replace(timing, coding_ns=call.coding_ns)
        return Done(call=call, reply=Result(call_id=message.call_id, outputs=specs, timing=timing), frames=frames)

    def let_go(self, call: Call) -> None:
        """A call is over: the arrays it was fed may go."""
        while call.pinned:
            call.arrays.let_go(call.pinned.pop())

    def prepare(self, call: Call) -> None:
        """Turn the frames of a Run into its inputs, if that was not done yet."""
        if call.feed is not None or not isinstance(call.message, Run):
            return
        names = [name for name, _ in call.message.feed]
        specs = [spec for _, spec in call.message.feed]
        started_ns = _now()
        decoded = coded_nbytes(specs)
        if decoded > self._device.account.limit_bytes:
            raise self._device.account.refusal(decoded, "the coded inputs of a call")

        def held(spec: HeldSpec | SeenSpec) -> Value:
            if isinstance(spec, SeenSpec):
                return self._tensors.find(spec)
            kept = call.arrays.pin(spec.id)
            if isinstance(kept, Broken):
                raise ExecutionFailed(kept.error.message, **{**kept.error.details, "root": kept.root, "code": kept.error.code})
            call.pinned.append(kept)
            return kept.array

        values = unpack_values(specs, call.frames, held)
        for spec, value in zip(specs, values, strict=True):
            if isinstance(spec, TensorSpec) and spec.digest:
                self._tensors.keep(spec.digest, value)
        if decoded:
            call.coding_ns += _now() - started_ns
        if self._device.aligned_bytes > 1:
            values = [aligned(value, self._device.aligned_bytes) for value in values]
        call.feed = dict(zip(names, values, strict=True))
        call.frames = []  # those the arrays are no views of may go
        if len(call.feed) != len(names):
            raise RemoteProtocolError(f"a call names an input twice: {names}")

    def _packed(
        self, call: Call, message: Run, program: Program, values: Sequence[Value]
    ) -> tuple[list[ValueSpec], list[Buffer]]:
        """Return the specs of the outputs and the frames of those that travel; the others are held from now on."""
        ids = dict(message.keep)
        names = [info.name for info in program.surface.outputs] if message.outputs is None else message.outputs
        specs: list[ValueSpec] = []
        frames: list[Buffer] = []
        for number, value in enumerate(values):
            if ids and (array_id := ids.get(names[number])) is not None:
                specs.append(self._held(call, array_id, names[number], value))
                continue
            spec, more = self._coded(call, message, names[number], _travelling(value))
            specs.append(spec)
            frames += more
        return specs, frames

    def _coded(self, call: Call, message: Run, name: str, value: Value) -> tuple[ValueSpec, list[memoryview]]:
        """Return an output as it travels: coded where the caller's link is slower than that."""
        speed = message.link_bytes_per_s
        if not speed:
            return pack_value(value)
        started_ns = _now()
        coder = call.program.coders.setdefault(name, Coder(time.perf_counter_ns))
        packed = pack_value(value, partial(coder.pack, bytes_per_s=speed))
        call.coding_ns += _now() - started_ns
        return packed

    def _held(self, call: Call, array_id: int, name: str, value: Value) -> HeldSpec:
        if not isinstance(value, call.arrays.library.xp.ndarray) or value.dtype.kind not in "biufc":
            raise UsageError(f"output {name!r} is a {type(value).__name__}: only tensors of numbers can stay on the device")
        call.arrays.put(array_id, value, name=f"output {name}")
        return HeldSpec(array_id, name_of(value.dtype), tuple(value.shape))


def _travelling(value: Value) -> Value:
    """Return an output as it is; raise ExecutionFailed for a kind of value the wire has no form for (sparse tensors)."""
    if value is not None and not isinstance(value, np.ndarray | np.generic | list | dict):
        raise ExecutionFailed(f"the model returns a {type(value).__name__}, which cannot travel", ort_class="NotImplemented")
    return value
