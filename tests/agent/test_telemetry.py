"""NVML, played by a fake of its module: what the board tells, what it does not."""

from __future__ import annotations

import types
from typing import Any

import pytest

from gpupool_agent.telemetry import open_nvml


class FakeNvml(types.SimpleNamespace):
    """Two boards: a full one, and an old one that does not know its power and whose memory cannot be asked."""

    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC = 1, 0
    nvmlEventTypeXidCriticalError = 8  # noqa: N815

    class NVMLError(Exception):
        pass

    def __init__(self, *, has_driver: bool = True) -> None:
        super().__init__()
        self.has_driver = has_driver
        self.is_open = False
        #: Faults that the full board will report.
        self.faults: list[int] = []

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.has_driver:
            raise self.NVMLError("driver not loaded")
        self.is_open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802
        return b"570.86.15"

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> list[int]:  # noqa: N802
        return [9, 0]

    def nvmlDeviceGetUUID(self, handle: int) -> str | bytes:  # noqa: N802
        return f"GPU-{handle}" if handle else b"GPU-0"

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return f"Board {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        if handle:
            raise self.NVMLError("not supported")
        return types.SimpleNamespace(total=80 * 1024**3, used=1024**3)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return types.SimpleNamespace(gpu=37)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if handle:
            raise self.NVMLError("not supported")
        return 250_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        return 9_000

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        return 55

    def nvmlDeviceGetClockInfo(self, handle: int, clock: int) -> int:  # noqa: N802
        if handle:
            raise self.NVMLError("not supported")
        return {self.NVML_CLOCK_SM: 1_980, self.NVML_CLOCK_MEM: 3_201}[clock]

    def nvmlDeviceGetTotalEccErrors(self, handle: int, kind: int, counter: int) -> int:  # noqa: N802
        if handle:
            raise self.NVMLError("not supported")
        return 2

    def nvmlEventSetCreate(self) -> list[int]:  # noqa: N802
        return self.faults

    def nvmlDeviceRegisterEvents(self, handle: int, kinds: int, faults: list[int]) -> None:  # noqa: N802
        if handle:
            raise self.NVMLError("not supported")

    def nvmlEventSetWait_v2(self, faults: list[int], timeout_ms: int) -> Any:  # noqa: N802
        if not faults:
            raise self.NVMLError("timeout")
        return types.SimpleNamespace(eventData=faults.pop(0))


@pytest.fixture
def fake_nvml() -> FakeNvml:
    return FakeNvml()


def test_without_a_driver_there_is_none() -> None:
    assert open_nvml(FakeNvml(has_driver=False)) is None


def test_gpus_are_named(fake_nvml: FakeNvml) -> None:
    nvml = open_nvml(fake_nvml)
    assert nvml is not None
    (gpu,) = nvml.gpus()  # the other does not tell its memory
    assert (gpu.index, gpu.uuid, gpu.model, gpu.memory_mib) == (0, "GPU-0", "Board 0", 80 * 1024)
    assert (gpu.compute_capability, gpu.driver) == ("9.0", "570.86.15")


def test_what_a_board_does_not_tell_is_none(fake_nvml: FakeNvml) -> None:
    nvml = open_nvml(fake_nvml)
    assert nvml is not None
    full, old = nvml.sample()
    assert (full.memory_used_bytes, full.busy_pct, full.power_mw, full.energy_mj, full.temperature_c) == (
        1024**3,
        37,
        250_000,
        9_000,
        55,
    )
    assert (old.memory_used_bytes, old.power_mw, old.busy_pct) == (None, None, 37)
    assert (full.clock_mhz, full.memory_clock_mhz, full.ecc_errors, full.xid) == (1_980, 3_201, 2, None)
    assert (old.clock_mhz, old.memory_clock_mhz, old.ecc_errors, old.xid) == (None, None, None, None)


def test_the_last_fault_of_a_board_is_kept(fake_nvml: FakeNvml) -> None:
    nvml = open_nvml(fake_nvml)
    assert nvml is not None
    fake_nvml.faults += [31, 79]
    assert [board.xid for board in nvml.sample()] == [79, None]
    assert [board.xid for board in nvml.sample()] == [79, None]


def test_closing_lets_go_of_the_library(fake_nvml: FakeNvml) -> None:
    nvml = open_nvml(fake_nvml)
    assert nvml is not None
    nvml.close()
    assert not fake_nvml.is_open


def test_this_machine_answers_either_way() -> None:
    nvml = open_nvml()
    if nvml is not None:
        assert len(nvml.sample()) >= len(nvml.gpus())
        nvml.close()
