"""A pool of a benchmark's own: broker and agents as processes that may be killed and started again."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from gpupool.rest import RestClient
from gpupool_wire.errors import PoolUnreachable

READY_S = 60


@dataclass
class Cluster:
    """A broker and agents of a benchmark's own, started again where they are killed."""

    home: Path
    agents: tuple[str, ...] = ("agent-1", "agent-2")
    #: What each agent offers.
    devices: tuple[str, ...] = ("--device", "cpu", "--cpu-memory", "8GiB")
    #: How the agents are run: something else than the command line may change their constants first.
    agent_command: tuple[str, ...] = (sys.executable, "-m", "gpupool", "agent")
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    url: str = ""
    token: str = ""
    rest: RestClient | None = None
    _commands: dict[str, list[str]] = field(default_factory=dict)

    def start(self) -> None:
        """Start everything and wait until it serves."""
        file = self.home / "admin.token"
        # Fixed ports, so that a broker that is started again is found where it was.
        bind, http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.launch("broker", ["--bind", bind, "--http", http, "--admin-token-file", str(file)])
        self.url = f"tcp://{bind}"
        self.token = file.read_text().strip()
        self.rest = RestClient(f"http://{http}", self.token)
        for name in self.agents:
            join = self.rest.post("/tokens", {"role": "join"})["token"]
            options = ["--broker", self.url, "--join-token", join, "--node", name, "--bind", "127.0.0.1:0", "--worker-ports", "0"]
            self.launch(name, [*options, *self.devices, "--metrics", "none"])

    def launch(self, name: str, options: list[str] | None = None) -> None:
        """Start a part, or start it again with the options it had."""
        self._commands[name] = options or self._commands[name]
        ready = self.home / f"{name}.json"
        ready.unlink(missing_ok=True)
        home = self.home / name
        program = self.agent_command if name in self.agents else (sys.executable, "-m", "gpupool", "broker")
        command = [*program, *self._commands[name]]
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen([*command, "--home", str(home), "--ready-file", str(ready)], stderr=log)
        deadline = time.monotonic() + READY_S
        while not ready.exists():
            if time.monotonic() > deadline or self.processes[name].poll() is not None:
                raise SystemExit(f"{name} did not start: see {self.home / f'{name}.log'}")
            time.sleep(0.02)

    def nodes(self) -> list[dict[str, Any]]:
        """What REST shows of the nodes; nothing while the broker is away."""
        return self._rows("/nodes")

    def slices(self) -> list[dict[str, Any]]:
        """What REST shows of the slices; nothing while the broker is away."""
        return self._rows("/slices")

    def _rows(self, path: str) -> list[dict[str, Any]]:
        try:
            return list(self.rest.get(path)) if self.rest else []
        except PoolUnreachable:
            return []

    def workers(self) -> list[psutil.Process]:
        """The workers of both agents."""
        found = []
        for name in self.agents:
            try:
                found += psutil.Process(self.processes[name].pid).children()
            except psutil.NoSuchProcess:
                continue
        return found

    def stop(self) -> None:
        """Stop everything."""
        for process in reversed(list(self.processes.values())):
            if process.poll() is None:
                process.terminate()
                process.wait(30)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
