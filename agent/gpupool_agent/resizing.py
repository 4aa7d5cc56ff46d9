"""A slice's memory limit, changed while its calls run.

change ──fits──> Changed
       └─more is used─┬─ no deadline ──> Refused
                      └─ deadline: unload idle models, look again ... ──fits──> Changed
                                                                    └──too late──> Refused, the old limit stays
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from gpupool_agent.channel import Change, Changed, ChannelClosed, Refused
from gpupool_agent.devices.base import Device
from gpupool_agent.threads import start_thread
from gpupool_wire.errors import Conflict
from gpupool_wire.units import MIB

#: Until the deadline only models that no call has used for so long are unloaded; at the deadline, every one that is not running.
IDLE_NS = 10_000_000_000
#: How often it is looked whether the slice fits by now. Short against any deadline a person would give.
LOOK_S = 0.02


class MemoryLimit:
    """Changes the limit, one change at a time: the newest counts, an older one that is under way is given up without a word."""

    def __init__(self, device: Device, evict: Callable[[int], bool], send: Callable[[Changed | Refused], None]) -> None:
        self._device = device
        #: Unloads a model that was idle for so long (ns); returns whether there was one.
        self._evict = evict
        self._send = send
        self._newest: Change | None = None
        self._lock = threading.Lock()

    def change(self, change: Change) -> None:
        """Take over a new size, at once or, with a deadline, when it fits. Never waits."""
        self._newest = change
        if (refusal := self._refusal(change)) is None:
            return
        if not change.deadline_ms:
            self._send(Refused(error=refusal.to_info(), seq=change.seq))
        else:
            start_thread("shrink", partial(self._shrink, change))

    def _shrink(self, change: Change) -> None:
        deadline_ns = time.monotonic_ns() + change.deadline_ms * 1_000_000
        try:
            while (refusal := self._refusal(change)) is not None:
                is_late = time.monotonic_ns() >= deadline_ns
                if self._evict(0 if is_late else IDLE_NS):
                    continue
                if is_late:
                    self._send(Refused(error=refusal.to_info(), seq=change.seq))
                    return
                time.sleep(LOOK_S)
        except ChannelClosed:
            return  # the main thread ends the process

    def _refusal(self, change: Change) -> Conflict | None:
        """Set the limit and say so; or return why not. A change that is not the newest any more is over."""
        with self._lock:
            if change is not self._newest:
                return None
            try:
                self._device.resize(change.memory_mib * MIB)
            except Conflict as error:
                return error
            self._send(Changed(compute_pct=change.compute_pct, memory_mib=change.memory_mib, seq=change.seq))
            return None
