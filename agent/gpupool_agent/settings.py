"""What can be set for an agent, checked once."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from gpupool_wire.addresses import Address, check_bind, parse_address, parse_addresses
from gpupool_wire.errors import UsageError
from gpupool_wire.home import state_home
from gpupool_wire.limits import AGENT_METRICS_PORT, BROKER_PORT, DOOR_PORT, WORKER_PORTS
from gpupool_wire.units import parse_memory

DEFAULT_BROKER = f"127.0.0.1:{BROKER_PORT}"
DEFAULT_BIND = f"127.0.0.1:{DOOR_PORT}"
DEFAULT_METRICS = f"127.0.0.1:{AGENT_METRICS_PORT}"
DEFAULT_WORKER_PORTS = f"{WORKER_PORTS.start}-{WORKER_PORTS.stop - 1}"
DEFAULT_MODEL_CACHE = "8GiB"
#: As long as Kubernetes allows: longer than any name people type, short enough for a table.
MAX_LABEL_CHARS = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """An agent's settings."""

    node: str
    #: In the order in which they are tried: one serves, the others stand by.
    brokers: tuple[Address, ...]
    #: Single use; empty where the node has its credential.
    join_token: str
    door: Address
    #: Whether door and workers encrypt what they say to clients.
    encrypt: bool
    #: The host clients reach the door and the workers at.
    advertise_host: str
    #: The port clients reach the door at; 0 is the one it is bound to.
    advertise_port: int
    #: First and last port of the workers; 0 and 0 is any free port.
    worker_ports: tuple[int, int]
    devices: tuple[str, ...]
    #: None offers half of the machine's memory.
    cpu_memory_mib: int | None
    null_devices: int
    #: What requests may want of the node; a label of a device goes before one of its node.
    labels: dict[str, str]
    #: Booked beside every slice of a GPU; None takes the default.
    worker_overhead_mib: int | None
    model_cache_bytes: int
    home: Path
    #: None serves no metrics.
    metrics: Address | None
    ready_file: Path | None

    @property
    def state_dir(self) -> Path:
        """Where the agent keeps its credential, its model cache and its workers' scratch folders."""
        return self.home / "agent"


def agent_settings(
    *,
    node: str = "",
    broker: str = DEFAULT_BROKER,
    join_token: str = "",
    bind: str = DEFAULT_BIND,
    advertise: str = "",
    worker_ports: str = DEFAULT_WORKER_PORTS,
    devices: tuple[str, ...] = (),
    cpu_memory: str = "",
    null_devices: int = 0,
    labels: tuple[str, ...] = (),
    worker_overhead: str = "",
    model_cache: str = DEFAULT_MODEL_CACHE,
    home: Path | None = None,
    metrics: str = DEFAULT_METRICS,
    ready_file: Path | None = None,
    encrypt: bool | None = None,
    insecure: bool = False,
) -> AgentSettings:
    """Return settings from what people write; raise UsageError, with the way out, for what cannot be."""
    door = parse_address(bind, DOOR_PORT)
    if encrypt is None:
        encrypt = not (door.is_loopback or insecure)
    check_bind(door, insecure=insecure, encrypted=encrypt)
    advertised = parse_address(advertise, 0) if advertise else Address(door.host, 0)
    if advertised.host in {"0.0.0.0", "::"}:
        raise UsageError(f"clients cannot connect to {advertised.host}: name this node's address with --advertise")
    return AgentSettings(
        node=node or socket.gethostname(),
        brokers=parse_addresses(broker, BROKER_PORT),
        join_token=join_token,
        door=door,
        encrypt=encrypt,
        advertise_host=advertised.host,
        advertise_port=advertised.port,
        worker_ports=parse_ports(worker_ports),
        devices=devices,
        cpu_memory_mib=parse_memory(cpu_memory) if cpu_memory else None,
        null_devices=null_devices,
        labels=parse_labels(labels),
        worker_overhead_mib=parse_memory(worker_overhead) if worker_overhead else None,
        model_cache_bytes=parse_memory(model_cache) * 1024 * 1024,
        home=home or state_home(),
        metrics=check_bind(parse_address(metrics, AGENT_METRICS_PORT), insecure=insecure) if metrics != "none" else None,
        ready_file=ready_file,
    )


def parse_labels(texts: tuple[str, ...]) -> dict[str, str]:
    """Return labels written as NAME=VALUE; raise UsageError for what is none, is named twice, or is too long."""
    labels: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign and value) or len(name) > MAX_LABEL_CHARS or len(value) > MAX_LABEL_CHARS:
            raise UsageError(f"--label {text[:80]!r}: write NAME=VALUE, each with 1 to {MAX_LABEL_CHARS} characters")
        if name in labels:
            raise UsageError(f"--label {name} is given twice: {labels[name]} and {value}")
        labels[name] = value
    return labels


def parse_ports(text: str) -> tuple[int, int]:
    """Return first and last port of "7201-7999"; "0" is any free port, (0, 0)."""
    first, dash, last = text.strip().partition("-")
    if not (first.isdecimal() and (last.isdecimal() if dash else not last)):
        raise UsageError(f'--worker-ports {text!r} is not understood: write first-last, such as "{DEFAULT_WORKER_PORTS}", or 0')
    ports = int(first), int(last) if dash else int(first)
    if ports != (0, 0) and not 1 <= ports[0] <= ports[1] <= 65_535:
        raise UsageError(f"--worker-ports {text!r}: ports go from 1 to 65535, the smaller one first")
    return ports
