"""The pool as Prometheus reads it. The table METRICS is the whole list: name, help, labels; docs/metrics.md explains it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gpupool_broker.core.pool import Pool
from gpupool_broker.core.state import Lately, SliceState
from gpupool_broker.tally import Tally
from gpupool_wire.units import MIB

_DEVICE: Final = ("node", "device", "kind")
_SLICE: Final = ("slice", "tenant", "device")
#: Name (without prefix) to help and labels; counters end in _total.
METRICS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "pool_compute_percent": ("Compute that the devices of nodes that are up offer.", ()),
    "pool_compute_allocated_percent": ("Compute of these given out.", ()),
    "pool_compute_achieved_percent": ("Compute that slices had in the last ten seconds.", ()),
    "pool_memory_bytes": ("Memory that the devices of nodes that are up offer.", ()),
    "pool_memory_allocated_bytes": ("Memory of these given out, workers' own cost included.", ()),
    "node_up": ("1 while the node's agent beats.", ("node",)),
    "nodes_lost_total": ("Nodes that fell silent or left.", ()),
    "device_compute_allocated_percent": ("Compute given out.", _DEVICE),
    "device_memory_allocated_bytes": ("Memory given out, workers' own cost included.", _DEVICE),
    "device_memory_bytes": ("Memory offered.", _DEVICE),
    "device_busy_ratio": ("Share of the last ten seconds in which the device executed.", _DEVICE),
    "tenant_compute_allocated_percent": ("Compute a tenant holds.", ("tenant",)),
    "tenant_compute_achieved_percent": ("Compute a tenant's slices had in the last ten seconds.", ("tenant",)),
    "tenant_compute_limit_percent": ("Compute a tenant may hold, where that is limited.", ("tenant",)),
    "tenant_memory_allocated_bytes": ("Memory a tenant holds.", ("tenant",)),
    "tenant_memory_limit_bytes": ("Memory a tenant may hold, where that is limited.", ("tenant",)),
    "tenant_requests_waiting": ("Requests of a tenant in the queue.", ("tenant",)),
    "requests_waiting": ("Requests in the queue.", ()),
    "request_longest_wait_seconds": ("How long the request that came first has been in the queue; 0 where none is.", ()),
    "slices": ("Slices by state.", ("state", "tenant")),
    "slices_granted_total": ("Slices granted since this broker serves.", ("tenant",)),
    "slices_ended_total": (
        "Slices that ended since this broker serves: released, expired, lost (their lease) or evicted.",
        ("how", "tenant"),
    ),
    "slices_stranded_total": (
        "Slices that lost their device since this broker serves.",
        ("tenant",),
    ),
    "slice_device_seconds_total": ("Device time used by a live slice.", _SLICE),
    "slice_throttled_seconds_total": ("Time the calls of a live slice waited for their share.", _SLICE),
    "slice_compute_granted_ratio": ("Share of the device's time a live slice was promised.", _SLICE),
    "slice_compute_achieved_ratio": ("Share of the device's time it had in the last ten seconds.", _SLICE),
    "slice_memory_granted_bytes": ("Memory a live slice was promised.", _SLICE),
    "slice_memory_used_bytes": ("Memory it uses.", _SLICE),
}
_Add = Callable[..., None]


class _PoolCollector(Collector):
    def __init__(self, pool: Pool, tally: Tally, at_ms: int) -> None:
        self._pool = pool
        self._tally = tally
        self._at_ms = at_ms

    def collect(self) -> Iterable[Metric]:
        """Return every metric of METRICS."""
        families = {name: _family(name) for name in METRICS}

        def add(name: str, value: float, *labels: str) -> None:
            families[name].add_metric(labels, value)

        self._add_devices(add)
        self._add_tenants(add)
        self._add_queue(add)
        self._add_slices(add)
        self._add_counts(add)
        return families.values()

    def _add_devices(self, add: _Add) -> None:
        totals = Counter[str]()
        for node in self._pool.nodes.values():
            add("node_up", int(node.is_up), node.node)
            for device in node.devices.values():
                where = node.node, device.info.device, device.info.kind
                memory, free = device.info.memory_mib * MIB, device.memory_free_mib * MIB
                allocated_pct, busy_millipct = 100 - device.compute_free_pct, self._pool.busy_millipct(device)
                add("device_compute_allocated_percent", allocated_pct, *where)
                add("device_memory_allocated_bytes", memory - free, *where)
                add("device_memory_bytes", memory, *where)
                add("device_busy_ratio", busy_millipct / 100_000, *where)
                if node.is_up:
                    totals.update(compute=100, allocated=allocated_pct, busy=busy_millipct, memory=memory, taken=memory - free)
        add("pool_compute_percent", totals["compute"])
        add("pool_compute_allocated_percent", totals["allocated"])
        add("pool_compute_achieved_percent", totals["busy"] / 1_000)
        add("pool_memory_bytes", totals["memory"])
        add("pool_memory_allocated_bytes", totals["taken"])

    def _add_tenants(self, add: _Add) -> None:
        quotas = self._pool.quotas
        for account, held in quotas.held.items():
            if "/" not in account:
                add("tenant_compute_allocated_percent", held.compute_pct, account)
                add("tenant_memory_allocated_bytes", held.memory_mib * MIB, account)
        for account, quota in quotas.limits.items():
            if "/" not in account and quota.compute_pct is not None:
                add("tenant_compute_limit_percent", quota.compute_pct, account)
            if "/" not in account and quota.memory_mib is not None:
                add("tenant_memory_limit_bytes", quota.memory_mib * MIB, account)

    def _add_queue(self, add: _Add) -> None:
        asked = [(waiting.event.at_ms, waiting.event.tenant) for waiting in self._pool.waiting]
        add("requests_waiting", len(asked))
        add("request_longest_wait_seconds", max(0, self._at_ms - min(asked)[0]) / 1e3 if asked else 0)
        for tenant, count in Counter(tenant for _, tenant in asked).items():
            add("tenant_requests_waiting", count, tenant)

    def _add_slices(self, add: _Add) -> None:
        states: Counter[tuple[str, str]] = Counter()
        achieved: Counter[str] = Counter()
        for slice_ in self._pool.slices.values():
            states[slice_.state.value, slice_.tenant] += 1
            if slice_.state is not SliceState.LIVE:
                continue
            device_ns, throttled_ns, _ = self._pool.used(slice_)
            which = slice_.slice_id, slice_.tenant, f"{slice_.node}/{slice_.device}"
            lately = self._pool.lately.get(slice_.slice_id, Lately())
            achieved[slice_.tenant] += lately.achieved_millipct
            add("slice_device_seconds_total", device_ns / 1e9, *which)
            add("slice_throttled_seconds_total", throttled_ns / 1e9, *which)
            add("slice_compute_granted_ratio", slice_.compute_pct / 100, *which)
            add("slice_compute_achieved_ratio", lately.achieved_millipct / 100_000, *which)
            add("slice_memory_granted_bytes", slice_.memory_mib * MIB, *which)
            add("slice_memory_used_bytes", lately.memory_bytes, *which)
        for labels, number in states.items():
            add("slices", number, *labels)
        for tenant, millipct in achieved.items():
            add("tenant_compute_achieved_percent", millipct / 1_000, tenant)

    def _add_counts(self, add: _Add) -> None:
        tally = self._tally
        add("nodes_lost_total", tally.nodes_lost)
        for tenant, number in tally.granted.items():
            add("slices_granted_total", number, tenant)
        for labels, number in tally.ended.items():
            add("slices_ended_total", number, *labels)
        for tenant, number in tally.stranded.items():
            add("slices_stranded_total", number, tenant)


def _family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    text, labels = METRICS[name]
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(f"gpupool_{name}", text, labels=labels)


def render(pool: Pool, tally: Tally, at_ms: int) -> str:
    """Return the pool at a moment (wall clock) in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_PoolCollector(pool, tally, at_ms))
    return generate_latest(registry).decode()
