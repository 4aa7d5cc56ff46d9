"""Which energy counters a beat carries."""

from __future__ import annotations

from gpupool_agent.energy import EVERY_NS, EnergyReadings, unread
from gpupool_agent.telemetry import GpuSample
from gpupool_wire.messages import DeviceEnergy


def board(index: int, energy_mj: int | None) -> GpuSample:
    return GpuSample(
        index=index,
        uuid=f"GPU-{index}",
        memory_used_bytes=None,
        busy_pct=None,
        power_mw=None,
        energy_mj=energy_mj,
        temperature_c=None,
    )


def test_counters_of_offered_boards_are_read_once_a_minute() -> None:
    readings = EnergyReadings(lambda: [board(0, 700), board(1, None), board(2, 900)], frozenset({"cuda0", "cuda1"}))
    assert readings(5) == [DeviceEnergy(device="cuda0", energy_mj=700)]
    assert readings(4 + EVERY_NS) == []
    assert len(readings(5 + EVERY_NS)) == 1


def test_a_machine_without_nvml_tells_nothing() -> None:
    assert unread(0) == []
