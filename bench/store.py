"""What the store costs a broker: appends by size of the turn, reading, snapshots and what they make turns wait.

    python -m bench.store [--slices 100000] [--rounds 20]

Every append is durable when it returns. The books of the snapshot hold so many live slices.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

from bench.databases import own_postgres
from bench.restart import AT_MS, journal_of
from gpupool_broker.core import facts as f
from gpupool_broker.core.pool import Pool
from gpupool_broker.core.snapshot import SHAPE, freeze, thaw
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.records import START
from gpupool_broker.store.snapshots import Snapshot
from gpupool_broker.store.sql import SqlStore

TURNS = (1, 10, 100, 2_000)


def ended(count: int) -> list[f.Fact]:
    """Return that many facts of the usual size."""
    return [f.SliceEnded(at_ms=AT_MS, slice_id=f"s-{n}", epoch=2, how="released", request_id=f"r-{n:032}") for n in range(count)]


def appends(store: SqlStore, rounds: int) -> None:
    """Print how long turns of several sizes take."""
    for size in TURNS:
        facts = ended(size)
        took = [timed(lambda facts=facts: store.append(facts)) for _ in range(rounds)]  # type: ignore[misc]
        middle = statistics.median(took)
        worst = max(took)
        print(f"  a turn of {size:5} facts: {middle * 1e3:7.2f} ms (worst {worst * 1e3:.1f}), {size / middle:9,.0f} facts/s")


def reading(store: SqlStore) -> None:
    """Print how fast records are checked, and facts read."""
    count = store.journal.head.seq
    checked_s = timed(lambda: deque(store.journal.checked(START), maxlen=0))
    read_s = timed(lambda: deque(store.facts(), maxlen=0))
    print(f"  {count:,} records: checked in {checked_s:.2f} s, checked and decoded in {read_s:.2f} s")


def snapshots(store: SqlStore, pool: Pool) -> None:
    """Print what a snapshot takes, and what turns of 10 facts wait while it is written."""
    start = time.perf_counter()
    data = freeze(pool)
    freeze_s = time.perf_counter() - start
    snapshot = Snapshot(link=store.journal.head, shape=SHAPE, data=data)
    writing = threading.Thread(target=store.snapshots.write, args=(snapshot,))
    facts, waited = ended(10), []
    start = time.perf_counter()
    writing.start()
    while writing.is_alive():
        waited.append(timed(lambda: store.append(facts)))
    write_s = time.perf_counter() - start
    gc.disable()  # as a start does
    thaw_s = timed(lambda: thaw(data, Pool(lambda: "")))
    gc.enable()
    print(f"  a snapshot of {len(pool.slices):,} slices ({len(data) / 1e6:.0f} MB): frozen in {freeze_s * 1e3:.0f} ms,")
    print(f"  written beside them in {write_s:.2f} s, in which turns of 10 facts took {statistics.median(waited) * 1e3:.1f} ms")
    print(f"  (worst {max(waited) * 1e3:.1f}), and thawed in {thaw_s:.2f} s")


def timed(what: object) -> float:
    """Return the seconds a call takes."""
    start = time.perf_counter()
    what()  # type: ignore[operator]
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    pool = Pool(lambda: "")
    for facts in journal_of(arguments.slices):
        for fact in facts:
            pool.apply(fact)
    gc.freeze()  # as a broker does that has restored them
    with tempfile.TemporaryDirectory(prefix="gpupool-store-") as folder, own_postgres() as postgres:
        for name, url in (("SQLite", sqlite_url(Path(folder) / "broker.sqlite")), ("PostgreSQL", postgres)):
            print(name)
            store = SqlStore(url)
            try:
                appends(store, arguments.rounds)
                reading(store)
                snapshots(store, pool)
            finally:
                store.close()


if __name__ == "__main__":
    main()
