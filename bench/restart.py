"""How long a broker takes from its start until it serves, and until it shows all it held, from a journal of live slices.

The first start replays the journal, and takes a snapshot; the rounds begin with a kill -9 and start from that.

python -m bench.restart [--slices 10000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from bench.cluster import Cluster
from gpupool_broker.core import facts as f
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.sql import SqlStore
from gpupool_wire.errors import GpupoolError
from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import Hold, Policy

DEVICES_A_NODE = 8
SLICES_A_DEVICE = 100
#: Where a cluster's broker keeps its journal.
STORE = Path("broker", "broker", "broker.sqlite")
AT_MS = 1_700_000_000_000


def write_journal(path: Path, slices: int) -> None:
    """Fill a store with nodes and as many live slices of 1 % on them."""
    path.parent.mkdir(parents=True)
    store = SqlStore(sqlite_url(path))
    for facts in journal_of(slices):
        store.append(facts)
    store.close()


def journal_of(slices: int) -> Iterator[list[f.Fact]]:
    """Yield the facts of nodes and of so many live slices on them, a node at a time."""
    per_node = DEVICES_A_NODE * SLICES_A_DEVICE
    for node in range(-(-slices // per_node)):
        devices = [DeviceInfo(device=f"null{i}", kind="null", model="null", memory_mib=65_536) for i in range(DEVICES_A_NODE)]
        joined = f.NodeJoined(at_ms=AT_MS, node=f"node-{node}", door="tcp://127.0.0.1:1", devices=devices)
        yield [joined, *(_granted(number, node) for number in range(node * per_node, min(slices, (node + 1) * per_node)))]


def _granted(number: int, node: int) -> f.Fact:
    return f.SliceGranted(
        at_ms=AT_MS,
        slice_id=f"s-{number}",
        epoch=1,
        request_id=f"r-{number}",
        tenant=f"tenant-{number % 20}",
        node=f"node-{node}",
        device=f"null{number // SLICES_A_DEVICE % DEVICES_A_NODE}",
        compute_pct=1,
        memory_mib=128,
        policy=Policy.FIXED,
        hold=Hold.HELD,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpupool-restart-") as folder:
        cluster = Cluster(Path(folder), agents=())
        write_journal(Path(folder) / STORE, arguments.slices)
        served, shown = [], []
        try:
            start = time.monotonic()
            cluster.start()
            print(f"{arguments.slices} live slices; from the journal it serves {time.monotonic() - start:.2f} s after its start")
            for _ in range(arguments.rounds):
                wait_for_snapshot(Path(folder))
                cluster.processes["broker"].kill()
                cluster.processes["broker"].wait()
                start = time.monotonic()
                cluster.launch("broker")
                served.append(time.monotonic() - start)
                wait_until_shown(cluster, arguments.slices)
                shown.append(time.monotonic() - start)
        finally:
            cluster.stop()
    for what, took in (("serves", served), ("has shown them all", shown)):
        spread = f"{min(took):.2f} to {max(took):.2f}"
        print(f"from a snapshot it {what} {statistics.median(took):.2f} s after its start ({spread})")


def wait_until_shown(cluster: Cluster, slices: int) -> None:
    """Return when REST has listed all slices."""
    assert cluster.rest is not None
    shown = 0
    while shown < slices:
        try:
            shown = len(cluster.rest.get("/slices"))
        except GpupoolError:
            time.sleep(0.01)


def wait_for_snapshot(folder: Path) -> None:
    """Return when there is a snapshot in the store."""
    engine = sa.create_engine(sqlite_url(folder / STORE))
    deadline = time.monotonic() + 60
    try:
        while True:
            with engine.connect() as connection:
                if connection.scalar(sa.text("SELECT count(*) FROM snapshots")):
                    return
            if time.monotonic() > deadline:
                raise SystemExit("no snapshot was taken")
            time.sleep(0.05)
    finally:
        engine.dispose()


if __name__ == "__main__":
    main()
