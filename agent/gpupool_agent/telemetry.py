"""What NVML says of this machine's GPUs. A machine without NVML, or without a GPU, is normal and yields nothing.

libnvidia-ml ──pynvml──> Nvml.gpus (once) ──> inventory
                         Nvml.sample (every few seconds) ──> metrics
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from gpupool_wire.units import MIB

T = TypeVar("T")
#: Faults of one board that are taken at a look.
MAX_FAULTS = 100
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as NVML names it."""

    index: int
    uuid: str
    model: str
    memory_mib: int
    #: CUDA compute capability ("9.0") and driver version; empty where NVML does not tell.
    compute_capability: str = ""
    driver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """What one GPU does now; None where the board does not say."""

    index: int
    uuid: str
    memory_used_bytes: int | None
    #: Share of the last sample period in which a kernel ran (NVML's own definition).
    busy_pct: int | None
    power_mw: int | None
    energy_mj: int | None
    temperature_c: int | None
    #: Clocks of its multiprocessors and memory; memory errors that could not be corrected; the last Xid since NVML was opened.
    clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    ecc_errors: int | None = None
    xid: int | None = None


class Nvml:
    """An open NVML. Use `open_nvml`; close it when done."""

    def __init__(self, module: Any) -> None:  # noqa: ANN401 - pynvml has no types
        self._nvml = module
        count = module.nvmlDeviceGetCount()
        self._handles = [module.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        self._faults = [self._ask(self._listen, handle) for handle in self._handles]
        self._xids: list[int | None] = [None] * count

    def gpus(self) -> list[Gpu]:
        """Return the GPUs of this machine; a GPU whose name or memory NVML cannot tell is left out with a warning."""
        found: list[Gpu] = []
        driver = _text(self._ask(self._nvml.nvmlSystemGetDriverVersion) or "")
        for index, handle in enumerate(self._handles):
            uuid = self._ask(self._nvml.nvmlDeviceGetUUID, handle)
            model = self._ask(self._nvml.nvmlDeviceGetName, handle)
            memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
            if uuid is None or model is None or memory is None or memory.total < MIB:
                log.warning("GPU %d is left out: NVML does not tell its name and memory", index)
                continue
            capability = self._ask(self._nvml.nvmlDeviceGetCudaComputeCapability, handle)
            found.append(
                Gpu(
                    index=index,
                    uuid=_text(uuid),
                    model=_text(model),
                    memory_mib=memory.total // MIB,
                    compute_capability="" if capability is None else ".".join(map(str, capability)),
                    driver=driver,
                )
            )
        return found

    def sample(self) -> list[GpuSample]:
        """Return what every GPU does now."""
        nvml = self._nvml
        samples: list[GpuSample] = []
        for index, handle in enumerate(self._handles):
            memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
            rates = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
            sample = GpuSample(
                index=index,
                uuid=_text(self._ask(nvml.nvmlDeviceGetUUID, handle) or ""),
                memory_used_bytes=None if memory is None else int(memory.used),
                busy_pct=None if rates is None else int(rates.gpu),
                power_mw=self._ask(nvml.nvmlDeviceGetPowerUsage, handle),
                energy_mj=self._ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle),
                temperature_c=self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
                clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
                memory_clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
                ecc_errors=self._ask(
                    nvml.nvmlDeviceGetTotalEccErrors, handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
                ),
                xid=self._last_xid(index),
            )
            samples.append(sample)
        return samples

    def _listen(self, handle: Any) -> Any:  # noqa: ANN401
        """Return a set in which NVML gathers one board's faults."""
        faults = self._nvml.nvmlEventSetCreate()
        self._nvml.nvmlDeviceRegisterEvents(handle, self._nvml.nvmlEventTypeXidCriticalError, faults)
        return faults

    def _last_xid(self, index: int) -> int | None:
        """Take the faults that came since the last look; return the last there was."""
        faults = self._faults[index]
        for _ in range(MAX_FAULTS if faults is not None else 0):
            # It does not wait: an error, NVML's word for a timeout, says that there is none.
            event = self._ask(self._nvml.nvmlEventSetWait_v2, faults, 0)
            if event is None:
                break
            self._xids[index] = int(event.eventData)
        return self._xids[index]

    def close(self) -> None:
        """Let go of the library."""
        self._ask(self._nvml.nvmlShutdown)

    def _ask(self, question: Callable[..., T], *arguments: Any) -> T | None:  # noqa: ANN401
        """Return NVML's answer, None where this board or driver has none."""
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None


def open_nvml(module: Any = None) -> Nvml | None:  # noqa: ANN401
    """Return NVML, or None where the library, the driver or the GPUs are missing."""
    try:
        nvml = module or importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        return Nvml(nvml)
    except nvml.NVMLError as error:
        log.debug("NVML is not available: %s", error)
        return None


def _text(value: str | bytes) -> str:
    # Older bindings return bytes.
    return value.decode(errors="replace") if isinstance(value, bytes) else value
