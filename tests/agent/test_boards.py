"""What boards say of themselves: read every few seconds, of offered devices, and nothing made up."""

from __future__ import annotations

from gpupool_agent.boards import EVERY_NS, BoardReadings, unseen
from gpupool_agent.telemetry import GpuSample
from gpupool_wire.messages import BoardHealth


def board(index: int, **told: int) -> GpuSample:
    silent = dict.fromkeys(("memory_used_bytes", "busy_pct", "power_mw", "energy_mj", "temperature_c"))
    return GpuSample(index=index, uuid=f"GPU-{index}", **{**silent, **told})


def test_a_board_is_read_now_and_then() -> None:
    readings = BoardReadings(lambda: [board(0, temperature_c=61, power_mw=250_000, clock_mhz=1_980)], frozenset({"cuda0"}))
    assert readings(5) == [BoardHealth(device="cuda0", temperature_c=61, power_mw=250_000, clock_mhz=1_980)]
    assert readings(EVERY_NS) == []
    assert len(readings(5 + EVERY_NS)) == 1


def test_what_is_not_told_is_none_and_what_is_not_offered_is_left_out() -> None:
    readings = BoardReadings(lambda: [board(0), board(1, xid=79)], frozenset({"cuda1"}))
    (health,) = readings(0)
    assert (health.device, health.xid, health.temperature_c, health.ecc_errors) == ("cuda1", 79, None, None)


def test_without_nvml_nothing_is_told() -> None:
    assert unseen(0) == []
