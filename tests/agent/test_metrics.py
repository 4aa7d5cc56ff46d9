"""Metrics: every one of the table appears, with what the snapshot says."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from gpupool_agent.core.throttle import Standing
from gpupool_agent.core.totals import Used
from gpupool_agent.inventory import offers
from gpupool_agent.metrics import METRICS, AgentCollector, MetricsServer, Snapshot
from gpupool_agent.telemetry import GpuSample
from gpupool_wire.addresses import Address
from gpupool_wire.errors import UsageError
from gpupool_wire.messages import Assignment
from gpupool_wire.units import Hold, Policy


class OneGpu:
    def sample(self) -> list[GpuSample]:
        return [
            GpuSample(
                index=0,
                uuid="GPU-0",
                memory_used_bytes=5,
                busy_pct=40,
                power_mw=1_500,
                energy_mj=2_000,
                temperature_c=None,
            )
        ]


@pytest.fixture
def snapshot() -> Snapshot:
    served = Assignment(
        slice_id="s",
        epoch=1,
        tenant="t",
        device="null0",
        compute_pct=25,
        memory_mib=2,
        policy=Policy.FIXED,
        hold=Hold.HELD,
    )
    standing = Standing(
        slice_id="s",
        granted_pct=25,
        policy=Policy.FIXED,
        used_ns=3_000_000_000,
        achieved_pct=20.0,
        achieved_10s_pct=24.0,
        waited_ns=0,
        waited_10s_ns=0,
        turns=9,
        debt_ns=0,
        is_waiting=False,
        is_capped=False,
    )
    return Snapshot(
        broker_is_up=True,
        slices=(served,),
        workers=1,
        standing={"s": standing},
        forfeits={"null0": 2},
        used={"s": Used(0, 0, 7, 4)},
    )


@pytest.fixture
def served(snapshot: Snapshot) -> Any:
    nvml: Any = OneGpu()
    collector = AgentCollector(
        offers(["null"], nvml=None, cpu_memory_mib=None, null_devices=1, worker_overhead_mib=None), lambda: snapshot, nvml
    )
    with MetricsServer(Address("127.0.0.1", 0), collector) as server:
        yield server


def test_every_metric_appears(served: MetricsServer) -> None:
    with urllib.request.urlopen(f"http://{served.address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    for name in METRICS:
        assert f"# HELP gpupool_agent_{name} " in text
    labels = 'device="null0",slice="s",tenant="t"'
    assert "gpupool_agent_broker_up 1.0" in text
    assert f"gpupool_agent_slice_compute_granted_ratio{{{labels}}} 0.25" in text
    assert f"gpupool_agent_slice_compute_achieved_ratio{{{labels}}} 0.24" in text
    assert f"gpupool_agent_slice_device_seconds_total{{{labels}}} 3.0" in text
    assert f"gpupool_agent_slice_calls_total{{{labels}}} 7.0" in text
    assert f"gpupool_agent_slice_batched_calls_total{{{labels}}} 4.0" in text
    assert 'gpupool_agent_turns_forfeited_total{device="null0"} 2.0' in text
    assert 'gpupool_agent_gpu_power_watts{device="cuda0",uuid="GPU-0"} 1.5' in text
    assert "gpupool_agent_gpu_temperature_celsius{" not in text


def test_a_port_in_use_is_one_sentence(served: MetricsServer) -> None:
    collector = AgentCollector([], Snapshot, None)
    with pytest.raises(UsageError, match="--metrics"):
        MetricsServer(served.address, collector)
