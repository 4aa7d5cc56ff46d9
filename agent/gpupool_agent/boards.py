"""What the boards say of themselves, for the next beat: temperature, power, clocks, ECC and Xid errors, as NVML reads them.

A board that does not tell one of these does not have it told for it: the figure is None all the way to the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpupool_agent.telemetry import GpuSample
from gpupool_wire.messages import BoardHealth

#: A board's temperature moves within seconds; reading a machine's boards costs milliseconds.
EVERY_NS = 5_000_000_000


class BoardReadings:
    """Reads when it is time. `sample` is NVML's."""

    def __init__(self, sample: Callable[[], Sequence[GpuSample]], devices: frozenset[str]) -> None:
        self._sample = sample
        self._devices = devices
        self._due_ns = 0

    def __call__(self, now_ns: int) -> list[BoardHealth]:
        """Return what a beat now carries: nothing until some seconds have passed since the last."""
        if now_ns < self._due_ns:
            return []
        self._due_ns = now_ns + EVERY_NS
        return [_health(gpu) for gpu in self._sample() if _name(gpu) in self._devices]


def _name(gpu: GpuSample) -> str:
    return f"cuda{gpu.index}"


def _health(gpu: GpuSample) -> BoardHealth:
    return BoardHealth(
        device=_name(gpu),
        temperature_c=gpu.temperature_c,
        power_mw=gpu.power_mw,
        clock_mhz=gpu.clock_mhz,
        memory_clock_mhz=gpu.memory_clock_mhz,
        ecc_errors=gpu.ecc_errors,
        xid=gpu.xid,
    )


def unseen(_now_ns: int) -> list[BoardHealth]:
    """Return the readings of a machine without NVML."""
    return []
