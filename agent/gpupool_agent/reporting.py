"""What a worker says about its use: to the agent every second, to clients when they ask."""

from __future__ import annotations

import time
from collections.abc import Callable

from gpupool_agent.calls import Calls
from gpupool_agent.channel import Before, Use
from gpupool_agent.core.share import Share
from gpupool_agent.devices.base import Device
from gpupool_agent.quantum import Quantum
from gpupool_wire.messages import OpenedModel, Usage
from gpupool_wire.units import Policy


class Reporting:
    """The figures of one worker. Main's own."""

    def __init__(
        self,
        device: Device,
        quantum: Quantum,
        calls: Calls,
        *,
        compute_pct: int,
        policy: Policy,
        send: Callable[[Use], None],
    ) -> None:
        self.compute_pct = compute_pct
        self._policy = policy
        self._device = device
        self._quantum = quantum
        self._calls = calls
        self._send = send
        self._share = Share()
        #: What the slice had used before this worker was started.
        self.before = Before()
        self._reported: tuple[int, int, int, int, int, tuple[int, list[OpenedModel]]] = (0, 0, 0, 0, 0, (0, []))

    def sample(self) -> None:
        """Take note of how things stand, for the figures of the last ten seconds."""
        self._share.sample(time.monotonic_ns(), self._quantum.device_ns, self._quantum.throttled_ns)

    def report(self) -> None:
        """Tell the agent what was used since the last report, if anything was."""
        quantum, memory = self._quantum, self._device.account.used_bytes
        models = self._calls.open_models()
        current = (quantum.device_ns, quantum.throttled_ns, self._calls.executed, self._calls.batched, memory, models)
        before = self._reported
        if current == before:
            return
        self._reported = current
        self._send(
            Use(
                device_ns=current[0] - before[0],
                throttled_ns=current[1] - before[1],
                calls=current[2] - before[2],
                memory_bytes=memory,
                model_count=models[0],
                models=models[1],
                batched_calls=current[3] - before[3],
            )
        )

    def usage(self, call_id: int, sessions: int) -> Usage:
        """Return the answer to AskUsage."""
        account, before = self._device.account, self.before
        return Usage(
            call_id=call_id,
            compute_pct=self.compute_pct,
            policy=self._policy,
            memory_limit_bytes=account.limit_bytes,
            memory_used_bytes=account.used_bytes,
            device_ns=before.device_ns + self._quantum.device_ns,
            throttled_ns=before.throttled_ns + self._quantum.throttled_ns,
            calls=before.calls + self._calls.executed,
            achieved_millipct=self._share.achieved_millipct(time.monotonic_ns(), self._quantum.device_ns),
            throttled_10s_ns=self._share.throttled_ns(self._quantum.throttled_ns),
            sessions=sessions,
            batched_calls=before.batched_calls + self._calls.batched,
        )
