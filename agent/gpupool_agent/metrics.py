"""What an agent tells Prometheus, at /metrics.

    loop ──Snapshot, once a second──> collector <──scrape── Prometheus;   NVML is asked at the scrape

The table METRICS is the whole list: name, help, labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gpupool_agent.core.throttle import Standing
from gpupool_agent.core.totals import Used
from gpupool_agent.inventory import Offer
from gpupool_agent.telemetry import GpuSample, Nvml
from gpupool_wire.addresses import Address
from gpupool_wire.errors import UsageError
from gpupool_wire.messages import Assignment
from gpupool_wire.units import MIB

SLICE = ("slice", "tenant", "device")
GPU = ("device", "uuid")
#: Name (without prefix) to help and labels; counters end in _total.
METRICS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "broker_up": ("1 while the broker answers this agent.", ()),
    "device_memory_bytes": ("Memory a device offers.", ("device", "kind", "model")),
    "slices": ("Slices this node serves.", ("device",)),
    "workers": ("Worker processes that serve.", ()),
    "worker_starts_total": ("Worker processes started.", ()),
    "worker_deaths_total": ("Worker processes that ended without being told to.", ()),
    "slice_compute_granted_ratio": ("Share of the device's time a slice is granted.", SLICE),
    "slice_compute_achieved_ratio": ("Share of the device's time a slice had in the last 10 s.", SLICE),
    "slice_memory_granted_bytes": ("Memory a slice is granted.", SLICE),
    "slice_device_seconds_total": ("Device time a slice's worker has used.", SLICE),
    "slice_waited_seconds_total": ("Time a slice had work and no turn.", SLICE),
    "slice_turns_total": ("Turns a slice had.", SLICE),
    "slice_calls_total": ("Calls of models and batches of operations a slice had executed since it was granted.", SLICE),
    "slice_batched_calls_total": ("Those of the calls that were executed as one with others, since it came to this node.", SLICE),
    "slice_debt_seconds": ("Device time a slice owes.", SLICE),
    "turns_forfeited_total": ("Turns taken back from silent workers.", ("device",)),
    "gpu_memory_used_bytes": ("Memory in use on a GPU, as NVML says.", GPU),
    "gpu_busy_ratio": ("Share of the last sample period in which a kernel ran, as NVML says.", GPU),
    "gpu_power_watts": ("Power a GPU draws, as NVML says.", GPU),
    "gpu_energy_joules_total": ("Energy a GPU has drawn since its driver was loaded, as NVML says.", GPU),
    "gpu_temperature_celsius": ("A GPU's temperature, as NVML says.", GPU),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the loop knew at one moment."""

    broker_is_up: bool = False
    slices: Sequence[Assignment] = ()
    workers: int = 0
    worker_starts: int = 0
    worker_deaths: int = 0
    #: Slice id to how it stands with its device's throttle.
    standing: Mapping[str, Standing] = field(default_factory=dict)
    #: Slice id to what it has used.
    used: Mapping[str, Used] = field(default_factory=dict)
    #: Device to turns taken back.
    forfeits: Mapping[str, int] = field(default_factory=dict)


class AgentCollector(Collector):
    """Turns a snapshot and NVML's samples into metrics."""

    def __init__(self, offers: Sequence[Offer], snapshot: Callable[[], Snapshot], nvml: Nvml | None) -> None:
        self._offers = offers
        self._snapshot = snapshot
        self._nvml = nvml

    def collect(self) -> Iterable[Metric]:
        """Return every metric of METRICS; GPU metrics have samples where NVML tells."""
        families = {name: _family(name) for name in METRICS}

        def add(name: str, value: float | None, *labels: str) -> None:
            if value is not None:
                families[name].add_metric(labels, value)

        snapshot = self._snapshot()
        add("broker_up", float(snapshot.broker_is_up))
        add("workers", snapshot.workers)
        add("worker_starts_total", snapshot.worker_starts)
        add("worker_deaths_total", snapshot.worker_deaths)
        for offer in self._offers:
            add("device_memory_bytes", offer.info.memory_mib * MIB, offer.name, offer.info.kind, offer.info.model)
            add("turns_forfeited_total", snapshot.forfeits.get(offer.name, 0), offer.name)
            add("slices", sum(1 for served in snapshot.slices if served.device == offer.name), offer.name)
        for served in snapshot.slices:
            labels = (served.slice_id, served.tenant, served.device)
            add("slice_compute_granted_ratio", served.compute_pct / 100, *labels)
            add("slice_memory_granted_bytes", served.memory_mib * MIB, *labels)
            if (used := snapshot.used.get(served.slice_id)) is not None:
                add("slice_calls_total", used.calls, *labels)
                add("slice_batched_calls_total", used.batched_calls, *labels)
            if (standing := snapshot.standing.get(served.slice_id)) is not None:
                add("slice_compute_achieved_ratio", standing.achieved_10s_pct / 100, *labels)
                add("slice_device_seconds_total", standing.used_ns / 1e9, *labels)
                add("slice_waited_seconds_total", standing.waited_ns / 1e9, *labels)
                add("slice_turns_total", standing.turns, *labels)
                add("slice_debt_seconds", standing.debt_ns / 1e9, *labels)
        for gpu in self._nvml.sample() if self._nvml else ():
            _add_gpu(add, gpu)
        return families.values()


def _add_gpu(add: Callable[..., None], gpu: GpuSample) -> None:
    labels = (f"cuda{gpu.index}", gpu.uuid)
    add("gpu_memory_used_bytes", gpu.memory_used_bytes, *labels)
    add("gpu_busy_ratio", None if gpu.busy_pct is None else gpu.busy_pct / 100, *labels)
    add("gpu_power_watts", None if gpu.power_mw is None else gpu.power_mw / 1_000, *labels)
    add("gpu_energy_joules_total", None if gpu.energy_mj is None else gpu.energy_mj / 1_000, *labels)
    add("gpu_temperature_celsius", gpu.temperature_c, *labels)


def _family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    text, labels = METRICS[name]
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(f"gpupool_agent_{name}", text, labels=labels)


class MetricsServer:
    """Serves a collector's metrics over HTTP, in a thread of its own. A context manager."""

    def __init__(self, address: Address, collector: AgentCollector) -> None:
        registry = CollectorRegistry()
        registry.register(collector)
        try:
            self._server, self._thread = start_http_server(address.port, addr=address.host, registry=registry)
        except OSError as error:
            raise UsageError(f"metrics cannot be served at {address}: {error}; choose another address with --metrics") from error
        self.address = Address(address.host, self._server.server_port)

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *_: object) -> None:
        server: WSGIServer = self._server
        server.shutdown()
        server.server_close()
        self._thread.join()
