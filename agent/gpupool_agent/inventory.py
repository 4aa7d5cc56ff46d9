"""Which devices this node offers to the pool.

    --device auto|cpu|cuda|null, --null N, NVML, /proc ──> Offer per device: what the broker is told, and how a worker finds it

A CPU is always of kind "cpu", with the processor's own name; the null device computes nothing and says so.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpupool_agent.telemetry import Gpu, Nvml
from gpupool_wire.errors import UsageError
from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import MIB

KINDS = ("auto", "cpu", "cuda", "null")
#: A null device allocates nothing; it offers what a large GPU would.
NULL_MEMORY_MIB = 80 * 1024
#: Booked beside every slice of a GPU for its worker's CUDA context, cuBLAS and cuDNN, until measured on that GPU.
CUDA_WORKER_MIB = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One device of this node."""

    info: DeviceInfo
    #: Which one a worker takes; 0 where `environment` leaves it only one to see.
    index: int
    #: What a worker on it needs in its environment.
    environment: dict[str, str]

    @property
    def name(self) -> str:
        """The device's name on this node."""
        return self.info.device


def offers(
    kinds: Sequence[str], *, nvml: Nvml | None, cpu_memory_mib: int | None, null_devices: int, worker_overhead_mib: int | None
) -> list[Offer]:
    """Return what the node offers, GPUs first. "auto" is the GPUs where there are any, else the CPU.

    Raises UsageError for an unknown kind, for cuda without a GPU, and where nothing is left to offer.
    """
    wanted = set(kinds) or ({"null"} if null_devices else {"auto"})
    if unknown := wanted - set(KINDS):
        raise UsageError(f"--device {sorted(unknown)[0]!r} is not known: take one of {', '.join(KINDS)}")
    gpus = visible(nvml.gpus() if nvml else [], os.environ.get("CUDA_VISIBLE_DEVICES")) if wanted & {"auto", "cuda"} else []
    if "cuda" in wanted and not gpus:
        raise UsageError("--device cuda: NVML finds no GPU on this machine; install the driver, or offer --device cpu")
    found = [_cuda_offer(gpu, worker_overhead_mib) for gpu in gpus]
    if "cpu" in wanted or ("auto" in wanted and not gpus):
        found.append(_cpu_offer(cpu_memory_mib))
    nulls = null_devices or (1 if "null" in wanted else 0)
    return found + [_null_offer(index) for index in range(nulls)]


def visible(gpus: Sequence[Gpu], setting: str | None) -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES (indices or UUID prefixes; unset: all) leaves to this process."""
    if setting is None:
        return list(gpus)
    chosen: list[Gpu] = []
    for word in filter(None, (part.strip() for part in setting.split(","))):
        match = [gpu for gpu in gpus if (word.isdigit() and gpu.index == int(word)) or gpu.uuid.startswith(word)]
        if not match:
            break  # as CUDA does: what follows an unknown entry is not visible
        chosen += match
    return chosen


def _cuda_offer(gpu: Gpu, worker_overhead_mib: int | None) -> Offer:
    info = DeviceInfo(
        device=f"cuda{gpu.index}",
        kind="cuda",
        model=gpu.model,
        memory_mib=gpu.memory_mib,
        worker_overhead_mib=CUDA_WORKER_MIB if worker_overhead_mib is None else worker_overhead_mib,
        labels={name: value for name, value in _labels(gpu) if value},
    )
    # By UUID: CUDA's own numbering (fastest first) and NVML's (by PCI bus) differ.
    return Offer(info=info, index=0, environment={"CUDA_VISIBLE_DEVICES": gpu.uuid})


def _labels(gpu: Gpu) -> tuple[tuple[str, str], ...]:
    return ("uuid", gpu.uuid), ("compute_capability", gpu.compute_capability), ("driver", gpu.driver)


def _cpu_offer(memory_mib: int | None) -> Offer:
    info = DeviceInfo(
        device="cpu0",
        kind="cpu",
        model=cpu_model(Path("/proc/cpuinfo")),
        memory_mib=memory_mib or max(1, machine_memory_mib(Path("/sys/fs/cgroup/memory.max")) // 2),
        labels={"cores": str(len(os.sched_getaffinity(0)))},
    )
    return Offer(info=info, index=0, environment={"CUDA_VISIBLE_DEVICES": ""})


def _null_offer(index: int) -> Offer:
    info = DeviceInfo(device=f"null{index}", kind="null", model="null device (computes nothing)", memory_mib=NULL_MEMORY_MIB)
    return Offer(info=info, index=index, environment={"CUDA_VISIBLE_DEVICES": ""})


def cpu_model(cpuinfo: Path) -> str:
    """Return the processor's name as Linux shows it, else what the platform knows."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Hardware", "Model"} and value.strip():
            return " ".join(value.split())
    return platform.processor() or platform.machine() or "CPU"


def machine_memory_mib(cgroup_limit: Path) -> int:
    """Return this machine's memory, or its container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2, or "max"
        total = min(total, int(cgroup_limit.read_text()))
    return total // MIB
