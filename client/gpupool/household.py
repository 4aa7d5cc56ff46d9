"""The whole pool on this machine, as the children of one process: what `gpupool up` runs.

lock the home ─▶ broker ─▶ join token over REST ─▶ agent, web page ─▶ pool.json ─▶ watch ─▶ stop: web, agent, broker
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from gpupool.daemons import Daemon
from gpupool.locks import FileLock
from gpupool.rest import RestClient
from gpupool.settings import RunningPool, running_pool
from gpupool_wire.errors import Conflict, NotAuthorized, PoolUnreachable

#: A part that imports, opens its store and binds takes a second or two; a loaded machine may take long.
START_S: Final = 60.0
LOOK_S: Final = 0.1
#: A join token is used within the second.
JOIN_TOKEN_S: Final = 600
#: Settings of one part that another part would misread as its own.
_OF_ONE_PART: Final = (
    "GPUPOOL_BROKER_BIND",
    "GPUPOOL_AGENT_BIND",
    "GPUPOOL_HTTP",
    "GPUPOOL_READY_FILE",
    "GPUPOOL_ADMIN_TOKEN_FILE",
    "GPUPOOL_ADMIN_PASSWORD_FILE",
    "GPUPOOL_NODE",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Addresses:
    """Where the parts listen, "host:port"; port 0 takes a free one."""

    control: str = "127.0.0.1:7100"
    http: str = "127.0.0.1:7180"
    door: str = "127.0.0.1:7200"
    metrics: str = "127.0.0.1:7190"
    worker_ports: str = "7201-7999"


#: Free ports everywhere, for pools that nobody needs to find by their number.
ANY_PORTS: Final = Addresses(
    control="127.0.0.1:0", http="127.0.0.1:0", door="127.0.0.1:0", metrics="127.0.0.1:0", worker_ports="0"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to run."""

    home: Path
    addresses: Addresses = Addresses()
    with_web: bool = False
    #: Further options of the agent: what it offers.
    agent_options: tuple[str, ...] = ()
    log_level: str = "info"


class Household:
    """Broker, agent and web page of one home. Use it in the main thread (see Daemon)."""

    def __init__(self, plan: Plan, environ: Mapping[str, str] = os.environ) -> None:
        self._plan = plan
        self._environ = {name: value for name, value in environ.items() if name not in _OF_ONE_PART}
        self._environ["GPUPOOL_HOME"] = str(plan.home)
        self._daemons: list[Daemon] = []
        #: A link that signs the admin in to the web page, once; empty without a web page.
        self.sign_in = ""
        #: The one-time password of the user admin, as long as it was not changed.
        self.first_password = ""
        self._pool_file = plan.home / "pool.json"

    @contextlib.contextmanager
    def run(self, is_cancelled: Callable[[], bool]) -> Iterator[RunningPool]:
        """Have the pool run; yield once everything answers. Stops it at the end.

        Raises Conflict where a pool runs with this home, DaemonFailed where a part does not start.
        """
        home = self._plan.home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(home / "up.lock")
        if not lock.take_within(1.0):  # whoever looks whether a pool runs holds it for a moment
            there = running_pool(home)
            where = f" at {there.url}, web page and REST at {there.http}" if there else ""
            raise Conflict(f"a pool already runs with its state in {home}{where}: stop it first, or choose another --home")
        try:
            self._pool_file.unlink(missing_ok=True)  # left by a pool that was killed
            yield self._start(is_cancelled)
        finally:
            self._stop()
            lock.release()

    def ended(self) -> Daemon | None:
        """Return a part that has ended by itself, or None while all run."""
        return next((daemon for daemon in self._daemons if not daemon.is_running), None)

    def watch(self, is_over: Callable[[], bool]) -> None:
        """Return when `is_over` says so; raise DaemonFailed where a part ends by itself."""
        while not is_over():
            if (ended := self.ended()) is not None:
                raise ended.failure()
            time.sleep(LOOK_S)

    def _start(self, is_cancelled: Callable[[], bool]) -> RunningPool:
        addresses, home = self._plan.addresses, self._plan.home
        token_file = home / "admin.token"
        # The web page, where there is one, takes the HTTP port and passes REST on to the broker.
        rest = "127.0.0.1:0" if self._plan.with_web else addresses.http
        password_file = home / "admin.password"
        options = ["--bind", addresses.control, "--http", rest, "--home", str(home), "--admin-token-file", str(token_file)]
        options += ["--admin-password-file", str(password_file)]
        broker = self._add("broker", options)
        at = broker.wait_ready(START_S, is_cancelled)
        parts = [self._add("agent", self._agent_options(at["url"]), self._join_token(at["http"], token_file))]
        if self._plan.with_web:
            parts.append(self._add("web", self._web_options(at["http"], token_file)))
        ready = {part.name: part.wait_ready(START_S, is_cancelled) for part in parts}
        http = ready["web"]["http"] if self._plan.with_web else at["http"]
        self.sign_in = ready["web"].get("sign_in", "") if self._plan.with_web else ""
        self.first_password = password_file.read_text("utf-8").strip() if password_file.exists() else ""
        pids = {"up": os.getpid()} | {daemon.name: daemon.pid for daemon in self._daemons}
        pool = RunningPool(url=at["url"], http=http, pids=pids)
        draft = self._pool_file.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(pool))
        draft.replace(self._pool_file)
        return pool

    def _agent_options(self, url: str) -> list[str]:
        addresses = self._plan.addresses
        return [
            *("--broker", url, "--bind", addresses.door, "--worker-ports", addresses.worker_ports),
            *("--metrics", addresses.metrics, "--home", str(self._plan.home), *self._plan.agent_options),
        ]

    def _web_options(self, api: str, token_file: Path) -> list[str]:
        home = str(self._plan.home)
        return ["--bind", self._plan.addresses.http, "--api", api, "--home", home, "--admin-token-file", str(token_file)]

    def _join_token(self, http: str, token_file: Path) -> dict[str, str]:
        """Return the variables with which the agent joins; none where it has a credential from last time."""
        if (self._plan.home / "agent" / "credential").exists():
            return {}
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise NotAuthorized(
                f"the broker's state is in {self._plan.home}, but its admin token is not ({error.strerror}: {token_file}): "
                "write the token there, or start with another --home"
            ) from error
        rest, deadline = RestClient(http, token), time.monotonic() + START_S
        while True:
            try:
                made = rest.post("/tokens", {"role": "join", "name": "gpupool up", "expires_s": JOIN_TOKEN_S})
            except PoolUnreachable:
                # The control port answers a moment before REST does.
                if time.monotonic() > deadline or self.ended() is not None:
                    raise
                time.sleep(LOOK_S)
                continue
            return {"GPUPOOL_JOIN_TOKEN": made["token"]}

    def _add(self, name: str, options: list[str], environ: Mapping[str, str] | None = None) -> Daemon:
        environment = {**self._environ, "GPUPOOL_LOG_LEVEL": self._plan.log_level, **(environ or {})}
        daemon = Daemon(name, options, folder=self._plan.home, environ=environment)
        self._daemons.append(daemon)
        return daemon

    def _stop(self) -> None:
        """Stop the parts, those that depend on others first. A part that does not stop is killed."""
        self._pool_file.unlink(missing_ok=True)
        for daemon in reversed(self._daemons):
            daemon.stop()
        self._daemons.clear()


def has_web() -> bool:
    """Whether this installation has the web page: the room's command, and what it needs."""
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    return find_spec("nicegui") is not None and "web" in entry_points(group="gpupool.commands").names
