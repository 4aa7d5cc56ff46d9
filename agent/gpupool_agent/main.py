"""Runs an agent in this process, from settings to a clean stop on SIGTERM or SIGINT."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal

from gpupool_agent.boards import BoardReadings, unseen
from gpupool_agent.energy import EnergyReadings, unread
from gpupool_agent.inventory import offers
from gpupool_agent.metrics import AgentCollector, MetricsServer
from gpupool_agent.service import AgentService
from gpupool_agent.settings import AgentSettings
from gpupool_agent.telemetry import open_nvml

log = logging.getLogger(__name__)


def run_agent(settings: AgentSettings) -> None:
    """Serve until SIGTERM or SIGINT; raise GpupoolError where the agent cannot start or the broker will not have it."""
    _raise_descriptor_limit()
    with contextlib.ExitStack() as opened:
        nvml = open_nvml()
        if nvml is not None:
            opened.callback(nvml.close)
        offered = offers(
            settings.devices,
            nvml=nvml,
            cpu_memory_mib=settings.cpu_memory_mib,
            null_devices=settings.null_devices,
            worker_overhead_mib=settings.worker_overhead_mib,
        )
        names = frozenset(offer.name for offer in offered)
        energy = EnergyReadings(nvml.sample, names) if nvml else unread
        boards = BoardReadings(nvml.sample, names) if nvml else unseen
        service = AgentService(settings, offered, energy=energy, boards=boards)
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.signal(number, lambda *_: service.stop())
            opened.callback(signal.signal, number, before)
        # Entered before it can be refused a port, so that nothing the service has opened stays open.
        with service:
            if settings.metrics is not None:
                collector = AgentCollector(offered, lambda: service.snapshot, nvml)
                server = opened.enter_context(MetricsServer(settings.metrics, collector))
                log.info("metrics are served at http://%s/metrics", server.address, extra={"action": "metrics"})
            log.info(
                "agent of node %s listens at %s and offers %s",
                settings.node,
                service.door.address,
                ", ".join(f"{offer.name} ({offer.info.model}, {offer.info.memory_mib} MiB)" for offer in offered),
                extra={"action": "started", "brokers": ", ".join(map(str, settings.brokers))},
            )
            service.run()
        log.info("the agent has stopped", extra={"action": "stopped"})


def _raise_descriptor_limit() -> None:
    """A worker costs the agent a descriptor, and the usual soft limit of 1024 is there for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
