"""How long a broker takes from its start until it shows all it held: replay of a journal of live slices.

python -m bench.restart [--slices 10000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bench.cluster import Cluster
from gpupool_broker.core import facts as f
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.sql import SqlStore
from gpupool_wire.errors import GpupoolError
from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import Hold, Policy

DEVICES_A_NODE = 8
SLICES_A_DEVICE = 100
AT_MS = 1_700_000_000_000


def write_journal(path: Path, slices: int) -> None:
    """Fill a store with nodes and as many live slices of 1 % on them."""
    path.parent.mkdir(parents=True)
    store = SqlStore(sqlite_url(path))
    per_node = DEVICES_A_NODE * SLICES_A_DEVICE
    for node in range(-(-slices // per_node)):
        devices = [DeviceInfo(device=f"null{i}", kind="null", model="null", memory_mib=65_536) for i in range(DEVICES_A_NODE)]
        facts: list[f.Fact] = [f.NodeJoined(at_ms=AT_MS, node=f"node-{node}", door="tcp://127.0.0.1:1", devices=devices)]
        facts += [_granted(number, node) for number in range(node * per_node, min(slices, (node + 1) * per_node))]
        store.append(facts)
    store.close()


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
        write_journal(Path(folder) / "broker" / "broker" / "broker.sqlite", arguments.slices)
        took = []
        try:
            cluster.start()
            assert cluster.rest is not None
            for _ in range(arguments.rounds):
                cluster.processes["broker"].kill()
                cluster.processes["broker"].wait()
                start = time.monotonic()
                cluster.launch("broker")
                shown = 0
                while shown < arguments.slices:
                    try:
                        shown = len(cluster.rest.get("/slices"))
                    except GpupoolError:
                        time.sleep(0.01)
                took.append(time.monotonic() - start)
        finally:
            cluster.stop()
    spread = f"{min(took):.2f} to {max(took):.2f}"
    print(f"{arguments.slices} live slices are shown {statistics.median(took):.2f} s after the start ({spread})")


if __name__ == "__main__":
    main()
