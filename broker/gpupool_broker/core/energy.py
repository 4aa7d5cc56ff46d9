"""What devices drew, from the counters their agents tell: the difference of two readings, as a fact.

    reading ──> reading ──> DevicePowered(span, difference)

The first reading of a device after the broker's start, and one that is below the one before (the board's driver was loaded anew),
is only a beginning: what was drawn before it was not measured. Readings are not journalled.
"""

from __future__ import annotations

from collections.abc import Iterable

from gpupool_broker.core import facts as f
from gpupool_wire.messages import DeviceEnergy

#: Longer ago than this, and a reading is no beginning any more: use and energy of one time are settled together.
TOO_LONG_MS = 900_000


class EnergyCounters:
    """The last reading of each device: when (monotonic ms), and millijoules."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[int, int]] = {}

    def told(self, node: str, readings: Iterable[DeviceEnergy], now_ms: int, at_ms: int) -> list[f.Fact]:
        """Return what a node's devices drew since they were read last."""
        facts: list[f.Fact] = []
        for reading in readings:
            key = node, reading.device
            since_ms, before_mj = self._last.get(key, (now_ms, reading.energy_mj))
            self._last[key] = now_ms, reading.energy_mj
            span_ms, energy_mj = now_ms - since_ms, reading.energy_mj - before_mj
            if 0 < span_ms <= TOO_LONG_MS and energy_mj >= 0:
                facts.append(f.DevicePowered(at_ms=at_ms, node=node, device=reading.device, span_ms=span_ms, energy_mj=energy_mj))
        return facts
