"""The pool as Prometheus reads it.

gpupool_node_up{node}                                        1 while the agent beats
gpupool_device_compute_allocated_percent{node,device,kind}   compute given out
gpupool_device_memory_allocated_bytes{node,device,kind}      memory given out, workers' own cost included
gpupool_device_memory_bytes{node,device,kind}                memory offered
gpupool_slices{state,tenant}                                 slices by state
gpupool_slice_device_seconds_total{slice,tenant,device}      device time used by a live slice
gpupool_slice_throttled_seconds_total{slice,tenant,device}   time its calls waited for their share
gpupool_slice_compute_granted_ratio{slice,tenant,device}     share of the device's time it was promised
gpupool_slice_compute_achieved_ratio{slice,tenant,device}    share it had in the last ten seconds
gpupool_slice_memory_used_bytes{slice,tenant,device}         memory it uses
gpupool_device_busy_ratio{node,device,kind}                  share of the last ten seconds in which the device executed
gpupool_requests_waiting                                     requests in the queue
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Lately, SliceState
from gpupool_wire.units import MIB


class _PoolCollector:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        yield from self._devices()
        yield from self._slices()
        yield GaugeMetricFamily("gpupool_requests_waiting", "Requests in the queue", value=len(self._pool.waiting))

    def _devices(self) -> Iterator[Metric]:
        labels = ["node", "device", "kind"]
        up = GaugeMetricFamily("gpupool_node_up", "1 while the node's agent beats", labels=["node"])
        compute = GaugeMetricFamily("gpupool_device_compute_allocated_percent", "Compute given out", labels=labels)
        memory = GaugeMetricFamily("gpupool_device_memory_allocated_bytes", "Memory given out", labels=labels)
        offered = GaugeMetricFamily("gpupool_device_memory_bytes", "Memory offered", labels=labels)
        busy = GaugeMetricFamily("gpupool_device_busy_ratio", "Share of the last ten seconds in use", labels=labels)
        for node in self._pool.nodes.values():
            up.add_metric([node.node], int(node.is_up))
            for device in node.devices.values():
                where = [node.node, device.info.device, device.info.kind]
                compute.add_metric(where, 100 - device.compute_free_pct)
                memory.add_metric(where, (device.info.memory_mib - device.memory_free_mib) * MIB)
                offered.add_metric(where, device.info.memory_mib * MIB)
                busy.add_metric(where, self._pool.busy_millipct(device) / 100_000)
        yield from (up, compute, memory, offered, busy)

    def _slices(self) -> Iterator[Metric]:
        labels = ["slice", "tenant", "device"]
        count = GaugeMetricFamily("gpupool_slices", "Slices by state", labels=["state", "tenant"])
        device_time = CounterMetricFamily("gpupool_slice_device_seconds", "Device time used", labels=labels)
        throttled = CounterMetricFamily("gpupool_slice_throttled_seconds", "Time calls waited for their share", labels=labels)
        memory = GaugeMetricFamily("gpupool_slice_memory_used_bytes", "Memory used", labels=labels)
        granted = GaugeMetricFamily("gpupool_slice_compute_granted_ratio", "Share promised", labels=labels)
        achieved = GaugeMetricFamily("gpupool_slice_compute_achieved_ratio", "Share had in the last ten seconds", labels=labels)
        states: Counter[tuple[str, str]] = Counter()
        for slice_ in self._pool.slices.values():
            states[slice_.state.value, slice_.tenant] += 1
            if slice_.state is SliceState.LIVE:
                device_ns, throttled_ns, _ = self._pool.used(slice_)
                which = [slice_.slice_id, slice_.tenant, f"{slice_.node}/{slice_.device}"]
                device_time.add_metric(which, device_ns / 1e9)
                throttled.add_metric(which, throttled_ns / 1e9)
                lately = self._pool.lately.get(slice_.slice_id, Lately())
                memory.add_metric(which, lately.memory_bytes)
                granted.add_metric(which, slice_.compute_pct / 100)
                achieved.add_metric(which, lately.achieved_millipct / 100_000)
        for (state, tenant), number in states.items():
            count.add_metric([state, tenant], number)
        yield from (count, device_time, throttled, granted, achieved, memory)


def render(pool: Pool) -> str:
    """Return the pool in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_PoolCollector(pool))
    return generate_latest(registry).decode()
