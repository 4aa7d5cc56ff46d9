"""What Prometheus reads of a service. Names of tenants and businesses are no labels: strangers choose them."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

#: A word on a fast device takes milliseconds, a long PDF minutes.
BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
PREFIX = "gpupool_ocr_"


class Meters:
    """The counters of one service. A Watcher of lanes. Thread-safe."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(PREFIX + name, text, labels, registry=registry)

        self.requests = counter("requests", "Documents answered, by kind of algorithm and status.", "tid", "status")
        self.pages = counter("pages", "Pages read, by the release they were read with.", "release")
        self.characters = counter("characters", "Characters read.")
        self.step_calls = counter("step_calls", "Calls of each step.", "step")
        self.step_wait = counter("step_wait_seconds", "Time calls of each step waited for a lane.", "step")
        self.shadow = counter("shadow_pages", "Pages a candidate read beside the active release.", "result")
        self.callbacks = counter("callbacks", "Answers sent to callers' addresses.", "result")
        self.cases = counter("cases", "Pages that were read badly, by why and by what became of them.", "reason", "result")
        self.seconds = Histogram(
            PREFIX + "request_seconds", "From the request to its answer.", ["tid"], registry=registry, buckets=BUCKETS_S
        )
        self.step_seconds = Histogram(
            PREFIX + "step_seconds", "Time one call of a step took.", ["step"], registry=registry, buckets=BUCKETS_S
        )
        self._registry = registry

    def called(self, step: str, calls: int, waited_s: float, took_s: float) -> None:
        """See gpupool_ocr.engine.lanes.Watcher."""
        self.step_calls.labels(step).inc(calls)
        self.step_wait.labels(step).inc(max(0.0, waited_s))
        self.step_seconds.labels(step).observe(took_s)

    def watch(self, name: str, text: str, read: Callable[[], float], *, grows: bool = False) -> None:
        """Add a value that is read when Prometheus asks; `grows` for one that only does."""
        if grows:
            self._registry.register(_Reading(PREFIX + name, text, read))
        else:
            Gauge(PREFIX + name, text, registry=self._registry).set_function(read)


class _Reading(Collector):
    """A counter whose value somebody else keeps."""

    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> list[Metric]:
        """See prometheus_client's Collector."""
        return [CounterMetricFamily(self._name, self._text, value=self._read())]
