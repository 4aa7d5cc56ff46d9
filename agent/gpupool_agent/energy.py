"""Which energy counters the next beat carries: those of the devices offered, as NVML reads them, once a minute.

The counter is the board's own, so nothing is lost with a beat: the next reading tells of the time before it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpupool_agent.telemetry import GpuSample
from gpupool_wire.messages import DeviceEnergy

EVERY_NS = 60_000_000_000


class EnergyReadings:
    """Reads when it is time. `sample` is NVML's; a board that has no counter is not read."""

    def __init__(self, sample: Callable[[], Sequence[GpuSample]], devices: frozenset[str]) -> None:
        self._sample = sample
        self._devices = devices
        self._due_ns = 0

    def __call__(self, now_ns: int) -> list[DeviceEnergy]:
        """Return the readings a beat now carries: none until a minute has passed since the last."""
        if now_ns < self._due_ns:
            return []
        self._due_ns = now_ns + EVERY_NS
        named = ((f"cuda{gpu.index}", gpu.energy_mj) for gpu in self._sample())
        return [DeviceEnergy(device=name, energy_mj=mj) for name, mj in named if name in self._devices and mj is not None]


def unread(_now_ns: int) -> list[DeviceEnergy]:
    """Return the readings of a machine without NVML."""
    return []
