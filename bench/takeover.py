"""How soon a standby grants after the broker that serves is killed, with one database between the two.

    python -m bench.takeover [--kills 10] [--slices 0] [--database postgresql+psycopg://...]

A client asks for slices of one per cent without a pause, an agent offers null devices; the broker that serves is killed with
SIGKILL, again and again, the other one takes over, and the killed one is started again to stand by. Measured at the client: from
the kill to the first grant after it. Every request is repeated at the end: each must have been granted once. With --slices, there
are so many live slices and a snapshot of them, no agent and one kill: measured is when the other one says that it is ready.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.cluster import Cluster, free_port
from bench.databases import own_postgres
from bench.restart import journal_of
from gpupool.control import Control
from gpupool.rest import RestClient
from gpupool_broker.core.pool import Pool
from gpupool_broker.recovery import Recovery
from gpupool_broker.store.sql import SqlStore
from gpupool_wire.messages import RequestSlice, SliceGranted
from gpupool_wire.units import Hold

#: Grants between two kills: the client is in the middle of its work.
BETWEEN = 50
#: Null devices of the agent: room for all that is asked for.
DEVICES = 64
READY_S = 60


class Pair:
    """Two brokers, either of which may serve."""

    def __init__(self, folder: Path, database: str) -> None:
        self._folder = folder
        self._database = database
        self._ports = [(free_port(), free_port()) for _ in range(2)]
        self._processes: list[subprocess.Popen[bytes] | None] = [None, None]
        self._starts = 0
        self.token_file = folder / "admin.token"

    @property
    def urls(self) -> list[str]:
        """The control ports."""
        return [f"tcp://127.0.0.1:{control}" for control, _ in self._ports]

    @property
    def https(self) -> list[str]:
        """REST."""
        return [f"http://127.0.0.1:{rest}" for _, rest in self._ports]

    def start(self, number: int) -> Path:
        """Start a broker that stands by where the other one serves; return the file that appears once it serves."""
        control, rest = self._ports[number]
        self._starts += 1
        home = self._folder / f"broker-{number}-{self._starts}"
        ready = self._folder / f"ready-{self._starts}"
        command = [sys.executable, "-m", "gpupool", "broker", "--standby", "--database", self._database, "--home", str(home)]
        command += ["--bind", f"127.0.0.1:{control}", "--http", f"127.0.0.1:{rest}", "--ready-file", str(ready)]
        command += ["--admin-token-file", str(self.token_file)]
        with (self._folder / f"broker-{number}.log").open("ab") as log:
            self._processes[number] = subprocess.Popen(command, stderr=log)
        return ready

    def kill(self, number: int) -> float:
        """Kill one; return when."""
        process = self._processes[number]
        assert process is not None
        process.kill()
        at = time.monotonic()
        process.wait()
        return at

    def stop(self) -> None:
        """Stop both."""
        for process in self._processes:
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(30)


class Asking(threading.Thread):
    """Asks for slices without a pause, and notes what it got when."""

    def __init__(self, urls: str, token: str) -> None:
        super().__init__(daemon=True)
        self.control = Control(urls, token)
        self.granted: list[str] = []
        self.at: list[float] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            self.granted.append(self.ask(len(self.granted)))
            self.at.append(time.monotonic())
            time.sleep(0.005)

    def ask(self, number: int) -> str:
        """Ask with the request id of that number; return the slice."""
        question = RequestSlice(
            call_id=number + 1, request_id=f"takeover-{number}", compute_pct=1, memory_mib=1, kind="null", hold=Hold.HELD
        )
        return self.control._ask(question, SliceGranted).slice_id


def wait_for(file: Path, process_log: Path) -> None:
    """Return when the file is there."""
    deadline = time.monotonic() + READY_S
    while not file.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"a broker does not serve: see {process_log}")
        time.sleep(0.01)


def kill_by_turns(pair: Pair, asking: Asking, kills: int) -> list[float]:
    """Kill the one that serves, so many times; return the seconds to the first grant after each."""
    took = []
    for kill in range(kills):
        active = kill % 2
        before = len(asking.at)
        while len(asking.at) < before + BETWEEN:
            time.sleep(0.01)
        killed_at = pair.kill(active)
        # What was on its way when it died is no grant of the other's.
        seen = len(asking.at) + 1
        while len(asking.at) <= seen:
            if not asking.is_alive() or time.monotonic() - killed_at > READY_S:
                raise SystemExit("the client gave up")
            time.sleep(0.001)
        took.append(max(b - a for a, b in zip(asking.at[before:], asking.at[before + 1 :], strict=False)))
        pair.start(active)
        rest = RestClient(pair.https[active], "")
        wait_until_waiting(rest.address)
    return took


def wait_until_waiting(address: str) -> None:
    """Return when a broker answers there."""
    import urllib.request

    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"no broker stands by at {address}")


@contextlib.contextmanager
def agent(folder: Path, pair: Pair, token: str) -> Iterator[None]:
    """Run an agent of both brokers."""
    rest = RestClient(",".join(pair.https), token)
    join = rest.post("/tokens", {"role": "join"})["token"]
    cluster = Cluster(folder, agents=("agent",))
    options = ["--broker", ",".join(pair.urls), "--join-token", join, "--node", "one", "--bind", "127.0.0.1:0"]
    options += ["--worker-ports", "0", "--metrics", "none", "--device", "null", "--null", str(DEVICES)]
    cluster.launch("agent", options)
    try:
        yield
    finally:
        cluster.stop()


def run_large(folder: Path, database: str, slices: int) -> None:
    """Print how soon a standby is ready where it has much to restore."""
    store, pool = SqlStore(database), Pool(lambda: "")
    for facts in journal_of(slices):
        store.append(facts)
    recovery = Recovery(store)
    recovery.restore(pool)
    recovery.finish(pool)
    store.close()
    pair = Pair(folder, database)
    try:
        ready = [pair.start(number) for number in range(2)]
        for address in pair.https:
            wait_until_waiting(address)
        while not any(file.exists() for file in ready):
            time.sleep(0.01)
        # At once: nodes without an agent are given up soon, and their slices with them.
        active = 0 if ready[0].exists() else 1
        killed_at = pair.kill(active)
        wait_for(ready[1 - active], folder / "broker.log")
        print(f"with {slices:,} live slices the standby serves {time.monotonic() - killed_at:.2f} s after the kill")
    finally:
        pair.stop()


def run(folder: Path, database: str, kills: int) -> None:
    """Print how soon there are grants again after each kill."""
    pair = Pair(folder, database)
    try:
        wait_for(pair.start(0), folder / "broker-0.log")
        pair.start(1)
        token = pair.token_file.read_text().strip()
        wait_until_waiting(pair.https[1])
        with agent(folder, pair, token):
            asking = Asking(",".join(pair.urls), token)
            asking.start()
            took = kill_by_turns(pair, asking, kills)
            asking.is_over.set()
            asking.join()
            repeated = [asking.ask(number) for number in range(len(asking.granted))]
            asking.control.close()
        doubled = sum(first != again for first, again in zip(asking.granted, repeated, strict=True))
    finally:
        pair.stop()
    spread = f"{min(took):.2f} to {max(took):.2f}"
    print(f"{kills} kills: the longest pause between two grants around each was")
    print(f"{statistics.median(took):.2f} s in the middle ({spread})")
    print(f"of {len(repeated)} requests, {doubled} were granted twice or lost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--slices", type=int, default=0)
    parser.add_argument("--database", help="the URL of an empty database; a PostgreSQL of its own where none is given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpupool-takeover-") as name, contextlib.ExitStack() as opened:
        folder = Path(name)
        database = arguments.database or opened.enter_context(own_postgres())
        if arguments.slices:
            run_large(folder, database, arguments.slices)
        else:
            run(folder, database, arguments.kills)


if __name__ == "__main__":
    main()
