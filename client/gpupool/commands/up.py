"""`gpupool up`: the whole pool on this machine, until it is told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from gpupool.commands.output import Json, print_json

if TYPE_CHECKING:
    from gpupool.household import Household, Plan
    from gpupool.settings import RunningPool


def register(app: typer.Typer) -> None:
    """Add the command to the root application."""
    app.command()(up)


def up(
    bind: Annotated[str, typer.Option(help="Control port of the broker.")] = "127.0.0.1:7100",
    http: Annotated[str, typer.Option(help="Web page and REST.")] = "127.0.0.1:7180",
    door: Annotated[str, typer.Option(help="Door of the agent.")] = "127.0.0.1:7200",
    metrics: Annotated[str, typer.Option(help="Metrics of the agent.")] = "127.0.0.1:7190",
    worker_ports: Annotated[str, typer.Option(help="First and last port of workers.")] = "7201-7999",
    any_port: Annotated[bool, typer.Option("--any-port", help="Take free ports for everything.")] = False,
    device: Annotated[list[str] | None, typer.Option(help="What to offer: auto, cuda, cpu, null. May be repeated.")] = None,
    cpu_memory: Annotated[str | None, typer.Option(help='Memory the CPU offers, such as "8GiB".')] = None,
    null: Annotated[int, typer.Option(help="Null devices to offer.", min=0)] = 0,
    web: Annotated[bool, typer.Option("--web/--no-web", help="The web page, where it is installed.")] = True,
    home: Annotated[Path | None, typer.Option(help="State directory [default: GPUPOOL_HOME].", show_default=False)] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written (JSON) once everything answers.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.", envvar="GPUPOOL_LOG_LEVEL")] = "info",
    stop_with_stdin: Annotated[bool, typer.Option("--stop-with-stdin", help="Stop when the input ends.", hidden=True)] = False,
    as_json: Json = False,
) -> None:
    """Run the whole pool on this machine: broker, agent and web page. Ctrl-C stops it.

    Programs of this user find it by themselves. Its state and its logs are in the state directory.
    """
    from gpupool.household import ANY_PORTS, Addresses, Household, Plan, has_web
    from gpupool_wire.home import state_home

    addresses = Addresses(control=bind, http=http, door=door, metrics=metrics, worker_ports=worker_ports)
    plan = Plan(
        home=(home or state_home()).absolute(),
        addresses=ANY_PORTS if any_port else addresses,
        with_web=web and has_web(),
        agent_options=_agent_options(device, cpu_memory, null),
        log_level=log_level,
    )
    _run(Household(plan), plan, ready_file, stop_with_stdin, as_json)


def _agent_options(device: list[str] | None, cpu_memory: str | None, null: int) -> tuple[str, ...]:
    options = [word for name in device or [] for word in ("--device", name)]
    if cpu_memory:
        options += ["--cpu-memory", cpu_memory]
    if null:
        options += ["--null", str(null)]
    return tuple(options)


def _run(household: Household, plan: Plan, ready_file: Path | None, stop_with_stdin: bool, as_json: bool) -> None:
    from gpupool.daemons import DaemonFailed

    signals: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        signals.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    users = _Users(plan.home) if stop_with_stdin else None

    def is_over() -> bool:
        return bool(signals) or (users is not None and users.have_gone())

    try:
        with household.run(is_over) as pool:
            _note_ready(pool, ready_file)
            if as_json:
                print_json({"url": pool.url, "http": pool.http, "pids": pool.pids, "sign_in": household.sign_in})
            elif not stop_with_stdin:
                _announce(pool, plan, household)
            sys.stdout.flush()
            household.watch(is_over)
    except DaemonFailed:
        if not is_over():
            raise


def _note_ready(pool: RunningPool, ready_file: Path | None) -> None:
    import msgspec

    if ready_file is not None:
        draft = ready_file.with_name(f".{ready_file.name}.draft")
        draft.write_bytes(msgspec.json.encode(pool))
        draft.replace(ready_file)


def _announce(pool: RunningPool, plan: Plan, household: Household) -> None:
    page = "web page and REST" if plan.with_web else "REST"
    typer.echo(f"The pool is up: {page} at {pool.http}, control port {pool.url}.")
    if household.sign_in:
        typer.echo(f"Sign in to the web page, once, with {household.sign_in}")
    if household.first_password:
        typer.echo(f"Or as admin with the one-time password {household.first_password}; you choose another then.")
    typer.echo(f"State, admin token and logs are in {plan.home}. Ctrl-C stops it.")


class _Users:
    """The programs that use a pool which was started for one of them: it stops when the last of them has ended."""

    def __init__(self, home: Path) -> None:
        from gpupool.locks import FileLock

        self._lock = FileLock(home / "users.lock")
        self._starter_has_ended = False
        self._have_gone = False

    def have_gone(self) -> bool:
        """Whether nobody uses the pool any more. From then on nobody can begin to, until this process has ended."""
        import select

        from gpupool.embedded import LINGERING, STOPPING

        if self._have_gone:
            return True
        if not self._starter_has_ended:
            readable, _, _ = select.select([sys.stdin], [], [], 0)
            if not readable or os.read(sys.stdin.fileno(), 4096):
                return False
            self._starter_has_ended = True
            # It gives its own lock back only after it has ended our input, hence the patience.
            self._have_gone = self._lock.take_within(0.5)
            with contextlib.suppress(OSError):  # it may have been killed
                os.write(sys.stdout.fileno(), f"{STOPPING if self._have_gone else LINGERING}\n".encode())
            return self._have_gone
        self._have_gone = self._lock.take()
        return self._have_gone
