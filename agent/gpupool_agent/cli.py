"""Commands of this room: `gpupool agent`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this room's commands to the root application."""
    app.command("agent")(agent)


def agent(
    broker: Annotated[
        str,
        typer.Option(help="The broker's control address; with commas, also those that stand by.", envvar="GPUPOOL_BROKER"),
    ] = "127.0.0.1:7100",
    join_token: Annotated[
        str,
        typer.Option(help="Joins this node the first time.", envvar="GPUPOOL_JOIN_TOKEN", show_default=False),
    ] = "",
    node: Annotated[str, typer.Option(help="This node's name; its host name if not given.", envvar="GPUPOOL_NODE")] = "",
    bind: Annotated[str, typer.Option(help="The door's address.", envvar="GPUPOOL_AGENT_BIND")] = "127.0.0.1:7200",
    advertise: Annotated[
        str, typer.Option(help="Host or host:port clients reach the door at, where it is not --bind.", envvar="GPUPOOL_ADVERTISE")
    ] = "",
    worker_ports: Annotated[
        str, typer.Option(help="First and last port of workers; 0 takes any free ones.", envvar="GPUPOOL_WORKER_PORTS")
    ] = "7201-7999",
    device: Annotated[
        list[str] | None,
        typer.Option(help="What to offer: auto (GPUs, else the CPU), cuda, cpu, null. May be repeated.", envvar="GPUPOOL_DEVICE"),
    ] = None,
    cpu_memory: Annotated[
        str, typer.Option(help='Memory the CPU offers, such as "8GiB"; half of it if not given.', envvar="GPUPOOL_CPU_MEMORY")
    ] = "",
    null: Annotated[int, typer.Option(help="Null devices to offer (for scale tests).", min=0, max=64, envvar="GPUPOOL_NULL")] = 0,
    label: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of this node, for requests that want it (zone=a, tflops=60). May be repeated."),
    ] = None,
    worker_overhead: Annotated[
        str, typer.Option(help="Memory booked beside every slice of a GPU for its worker.", envvar="GPUPOOL_WORKER_OVERHEAD")
    ] = "",
    model_cache: Annotated[str, typer.Option(help="Disk space for models.", envvar="GPUPOOL_MODEL_CACHE")] = "8GiB",
    home: Annotated[
        Path | None, typer.Option(help="State directory.", envvar="GPUPOOL_HOME", show_default="~/.local/state/gpupool")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help='Address of the Prometheus metrics; "none" serves none.', envvar="GPUPOOL_METRICS")
    ] = "127.0.0.1:7190",
    ready_file: Annotated[Path | None, typer.Option(help="Written (JSON) once the broker knows this node.")] = None,
    encrypt: Annotated[
        bool | None,
        typer.Option(
            "--encrypt/--no-encrypt",
            help="Encrypt what clients say and hear [default: beyond loopback].",
            envvar="GPUPOOL_ENCRYPT",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow unencrypted traffic beyond this machine.", envvar="GPUPOOL_INSECURE")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.", envvar="GPUPOOL_LOG_LEVEL")] = "info",
) -> None:
    """Offer this machine's devices to the pool and serve slices of them."""
    # Imported here: `gpupool --help` must not pay for sockets and cryptography.
    from gpupool_agent.logs import set_up_logs
    from gpupool_agent.settings import agent_settings

    try:
        from gpupool_agent.main import run_agent
    except ImportError as error:
        typer.echo(f"gpupool agent needs the package {error.name}: install gpupool[agent]", err=True)
        raise typer.Exit(1) from error
    set_up_logs(log_level)
    run_agent(
        agent_settings(
            node=node,
            broker=broker,
            join_token=join_token,
            bind=bind,
            advertise=advertise,
            worker_ports=worker_ports,
            devices=tuple(device or ()),
            cpu_memory=cpu_memory,
            null_devices=null,
            labels=tuple(label or ()),
            worker_overhead=worker_overhead,
            model_cache=model_cache,
            home=home,
            metrics=metrics,
            ready_file=ready_file,
            encrypt=encrypt,
            insecure=insecure,
        )
    )
