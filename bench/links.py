"""Pages per second over slow links, against RapidOCR run locally: what a client on another host would see.

    unshare -rn python -m bench.links [--link NAME...] [--pages N] [--rounds N]

    own network namespace: pool on 127.0.0.1 <── relay on 10.99.0.1 <══ veth ══> 10.99.0.2, the clients' network namespace

Links are emulated (see bench.shaping): their clients are in a network namespace of their own, so that all they say goes through
the relay, and nothing they do depends on being on the pool's host. `loopback` goes without all that. Contenders take turns, and
a ratio is taken within its round; opening models is not counted. Client, relay, broker, agent and worker share the cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.ocr import COMMANDS, DATA, Contender, compare
from bench.paired import run_paired
from gpupool.daemons import Daemon
from gpupool.rest import RestClient

POOL, CLIENTS = "10.99.0.1", "10.99.0.2"
BROKER, DOOR, ECHO = 7100, 7200, 7099
WORKERS = range(7201, 7221)
#: Bytes and messages that tell what a link really carries.
PROBE_BYTES, PROBE_TRIPS = 8_000_000, 50


class Link(NamedTuple):
    """An emulated link: megabits per second, and the round trip (ms)."""

    mbit: float
    trip_ms: float


LINKS: dict[str, Link | None] = {
    "loopback": None,
    "10g": Link(10_000, 0.1),
    "1g": Link(1_000, 0.6),
    "100m": Link(100, 5.0),
}


class FarContender(Contender):
    """A contender that runs in the clients' namespace and knows the pool by its address."""

    def __init__(self, name: str, pages: list[str], prefix: list[str], environ: dict[str, str]) -> None:
        super().__init__(name, pages)
        if name != "RapidOCR, local":
            self.command = [*prefix, *self.command]
            self.environ = environ


def sh(*command: str) -> None:
    subprocess.run(command, check=True)


@contextlib.contextmanager
def clients_namespace() -> Iterator[list[str]]:
    """Yield what a command begins with to run in the clients' network namespace."""
    with subprocess.Popen(["unshare", "-n", "sleep", "infinity"]) as holder:
        try:
            here = os.readlink("/proc/self/ns/net")
            while os.readlink(f"/proc/{holder.pid}/ns/net") == here:
                time.sleep(0.01)
            inside = ["nsenter", "-t", str(holder.pid), "-n"]
            sh("ip", "link", "add", "pool0", "type", "veth", "peer", "name", "client0")
            sh("ip", "link", "set", "client0", "netns", str(holder.pid))
            for prefix, device, address in (([], "pool0", POOL), (inside, "client0", CLIENTS)):
                sh(*prefix, "ip", "link", "set", "lo", "up")
                sh(*prefix, "ip", "address", "add", f"{address}/24", "dev", device)
                sh(*prefix, "ip", "link", "set", device, "up")
            yield inside
        finally:
            holder.kill()


@contextlib.contextmanager
def pool(home: Path, advertised: str) -> Iterator[dict[str, str]]:
    """Run a broker and an agent; yield the variables with which clients find it at `advertised`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GPUPOOL_")}
    told = ["--bind", f"127.0.0.1:{BROKER}", "--http", "127.0.0.1:0", "--home", str(home)]
    broker = Daemon("broker", [*told, "--admin-token-file", str(home / "token")], folder=home, environ=environ)
    try:
        ready = broker.wait_ready(60, lambda: False)
        token = (home / "token").read_text().strip()
        join = RestClient(ready["http"], token).post("/tokens", {"role": "join"})["token"]
        where = ["--broker", ready["url"], "--node", "far", "--bind", f"127.0.0.1:{DOOR}", "--advertise", f"{advertised}:{DOOR}"]
        where += ["--worker-ports", f"{WORKERS[0]}-{WORKERS[-1]}"]
        agent = Daemon(
            "agent",
            [*where, "--metrics", "none", "--device", "cpu", "--cpu-memory", "4GiB", "--home", str(home / "node")],
            folder=home,
            environ={**environ, "GPUPOOL_JOIN_TOKEN": join},
        )
        try:
            agent.wait_ready(60, lambda: False)
            yield {"GPUPOOL_URL": f"tcp://{advertised}:{BROKER}", "GPUPOOL_TOKEN": token, "GPUPOOL_HOME": str(home / "client")}
        finally:
            agent.stop()
    finally:
        broker.stop()


@contextlib.contextmanager
def relay(link: Link) -> Iterator[None]:
    """Run the relay between the clients' namespace and the pool."""
    routes = [f"{POOL}:{port}=127.0.0.1:{port}" for port in (BROKER, DOOR, ECHO, *WORKERS)]
    command = [sys.executable, "-m", "bench.shaping", "--mbit", str(link.mbit), "--trip-ms", str(link.trip_ms), *routes]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit("the relay did not start")
            yield
        finally:
            process.kill()


_PROBE = f"""
import socket, time
with socket.create_connection(({POOL!r}, {ECHO})) as link:
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    trips = []
    for _ in range({PROBE_TRIPS}):
        start = time.perf_counter(); link.sendall(b"x"); link.recv(1); trips.append(time.perf_counter() - start)
    start = time.perf_counter()
    link.sendall(bytes({PROBE_BYTES})); link.shutdown(socket.SHUT_WR)
    link.recv(1)
    print(f"measured through the relay: {{{PROBE_BYTES} / (time.perf_counter() - start) * 8e-6:.0f}} Mbit/s, "
          f"round trip {{sorted(trips)[{PROBE_TRIPS} // 2] * 1000:.2f}} ms", flush=True)
"""


def probe(inside: list[str]) -> None:
    """Print what the link carries: a byte there and back, then many there and one back."""
    with socket.create_server(("127.0.0.1", ECHO)) as listener, subprocess.Popen([*inside, sys.executable, "-c", _PROBE]):
        caller, _ = listener.accept()
        with caller:
            for _ in range(PROBE_TRIPS):
                caller.sendall(caller.recv(1))
            while caller.recv(1 << 20):
                pass
            caller.sendall(b"x")


def measure(name: str, pages: list[str], rounds: int) -> None:
    """Run all contenders over one link and print what came of it."""
    link = LINKS[name]
    print(f"\n── {name} {link or ''}", flush=True)
    with tempfile.TemporaryDirectory(prefix="gpupool-links-") as folder, contextlib.ExitStack() as stack:
        prefix: list[str] = []
        if link is not None:
            prefix = stack.enter_context(clients_namespace())
            stack.enter_context(relay(link))
            probe(prefix)
        environ = stack.enter_context(pool(Path(folder), POOL if link is not None else "127.0.0.1"))
        contenders = {title: FarContender(title, pages, prefix, environ) for title in COMMANDS}
        contenders["gpupool ocr"].pages_per_second()  # uploads its models
        contenders["RapidOCR, lazy output"].pages_per_second()
        figures = {title: contender.pages_per_second for title, contender in contenders.items()}
        print(run_paired(figures, rounds).table("pages/s"))
    for title, contender in contenders.items():
        each = contender.pages + 1  # the first page is read twice, see the programs
        print(f"{title:28} {contender.moved_bytes / each / 1e6:10.2f} MB a page of {contender.raw_bytes / each / 1e6:.2f} raw")
    for title in ("RapidOCR, gpupool run", "RapidOCR, lazy output"):
        compare(title, contenders["RapidOCR, local"].read, contenders[title].read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--link", action="append", choices=list(LINKS), help="[default: all]")
    parser.add_argument("--pages", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    sh("ip", "link", "set", "lo", "up")
    pages = [str(page.absolute()) for page in sorted((DATA / "receipts/img").glob("*.jpg"))[: arguments.pages]]
    print(f"{len(pages)} pages, {arguments.rounds} rounds, {os.cpu_count()} cores")
    for name in arguments.link or LINKS:
        measure(name, pages, arguments.rounds)


if __name__ == "__main__":
    main()
