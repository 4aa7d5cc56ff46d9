"""Which devices a node offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpupool_agent.inventory import CUDA_WORKER_MIB, Offer, cpu_model, machine_memory_mib, offers, visible
from gpupool_agent.telemetry import Gpu, Nvml
from gpupool_wire.errors import UsageError

GPUS = [Gpu(index=index, uuid=f"GPU-{letter}", model="H", memory_mib=1000) for index, letter in enumerate("abc")]


class TwoGpus(Nvml):
    def __init__(self) -> None:
        pass

    def gpus(self) -> list[Gpu]:
        return GPUS[:2]


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def offered(*kinds: str, nvml: Nvml | None = None, **changes: Any) -> list[Offer]:
    options: dict[str, Any] = {"cpu_memory_mib": 100, "null_devices": 0, "worker_overhead_mib": None}
    return offers(kinds, nvml=nvml, **{**options, **changes})


def names(found: list[Offer]) -> list[str]:
    return [offer.name for offer in found]


def test_without_a_gpu_the_cpu_is_offered_as_a_cpu() -> None:
    (cpu,) = offered()
    assert (cpu.info.kind, cpu.info.memory_mib) == ("cpu", 100)
    assert "cuda" not in cpu.info.model.lower()


def test_with_gpus_they_are_offered_instead() -> None:
    found = offered(nvml=TwoGpus())
    assert names(found) == ["cuda0", "cuda1"]
    assert found[1].environment == {"CUDA_VISIBLE_DEVICES": "GPU-b"}
    assert found[1].index == 0
    assert found[0].info.worker_overhead_mib == CUDA_WORKER_MIB


def test_kinds_may_be_combined() -> None:
    assert names(offered("cuda", "cpu", nvml=TwoGpus(), null_devices=2)) == ["cuda0", "cuda1", "cpu0", "null0", "null1"]


def test_null_devices_alone_are_alone() -> None:
    assert names(offered(null_devices=3)) == ["null0", "null1", "null2"]
    assert names(offered("null")) == ["null0"]


def test_cuda_without_a_gpu_is_refused_with_a_way_out() -> None:
    with pytest.raises(UsageError, match="--device cpu"):
        offered("cuda")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'tpu'.*auto, cpu, cuda, null"):
        offered("tpu")


def test_the_cpu_offers_half_of_the_memory_by_default(tmp_path: Path) -> None:
    (cpu,) = offered("cpu", cpu_memory_mib=None)
    assert 0 < cpu.info.memory_mib <= machine_memory_mib(tmp_path / "none") // 2


@pytest.mark.parametrize(
    ("setting", "indices"),
    [(None, [0, 1, 2]), ("", []), ("1", [1]), ("2,0", [2, 0]), ("GPU-b", [1]), ("0,9,1", [0])],
)
def test_cuda_visible_devices_is_heeded(setting: str | None, indices: list[int]) -> None:
    assert [gpu.index for gpu in visible(GPUS, setting)] == indices


def test_the_cpus_name_is_its_own(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast  CPU @ 3 GHz\n")
    assert cpu_model(cpuinfo) == "Fast CPU @ 3 GHz"
    assert cpu_model(tmp_path / "none")


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(str(512 * 1024 * 1024))
    assert machine_memory_mib(limit) == 512
    limit.write_text("max\n")
    assert machine_memory_mib(limit) == machine_memory_mib(tmp_path / "none")
