"""What a year of use takes, once folded: hours of use told every ten seconds, folded by the desk's own steps.

    python -m bench.folding                         1,000 devices with one busy slice each, two hours
    python -m bench.folding --slices 5 --devices 200
    python -m bench.folding --database postgresql+psycopg://…

Measured: bytes a record before, time to fold and to sweep an hour, the longest a turn waited meanwhile, bytes an hour afterwards.
The year is extrapolated from these, and says so.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.folder import HOUR_MS
from gpupool_broker.core.accounting.meter import MeterState
from gpupool_broker.core.books import Books
from gpupool_broker.core.snapshot import SHAPE, freeze
from gpupool_broker.reports.folding import next_folds
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.fold_writer import FoldWriter
from gpupool_broker.store.rollups import Counted, RollupStore
from gpupool_broker.store.snapshots import Snapshot
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.store.tables import folded_use, journal
from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import Hold, Policy

START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS
TOLD_MS, POWERED_MS = 10_000, 60_000
HOURS_A_YEAR = 365 * 24


def facts(devices: int, slices: int, hours: int, seed: int) -> Iterator[list[f.Fact]]:
    """Yield what a pool journals, ten seconds at a time: every slice busy, as uneven as real work is."""
    draw = random.Random(seed)
    names = [(f"node-{n // 8:03}", f"cuda{n % 8}") for n in range(devices)]
    infos: dict[str, list[DeviceInfo]] = {}
    for node, device in names:
        infos.setdefault(node, []).append(DeviceInfo(device=device, kind="cuda", model="H", memory_mib=81_920))
    yield [f.NodeJoined(at_ms=START_MS, node=node, door="d", devices=found) for node, found in infos.items()]
    held = [(f"s-{draw.randrange(16**12):012x}", node, device) for node, device in names for _ in range(slices)]
    yield [
        f.SliceGranted(
            at_ms=START_MS,
            slice_id=slice_id,
            epoch=1,
            request_id=slice_id,
            tenant=f"tenant-{n % 50:02}",
            node=node,
            device=device,
            compute_pct=100 // slices,
            memory_mib=1024,
            policy=Policy.BURST,
            hold=Hold.HELD,
        )
        for n, (slice_id, node, device) in enumerate(held)
    ]
    # They do not tell all at once: each at its own moment of the ten seconds.
    late = sorted((draw.randrange(TOLD_MS), *one) for one in held)
    for at_ms in range(START_MS + TOLD_MS, START_MS + hours * HOUR_MS + 2 * TOLD_MS, TOLD_MS):
        told: list[f.Fact] = []
        for offset, slice_id, *_ in late:
            busy = draw.uniform(0.2, 1.0)
            used = int(busy * TOLD_MS * 1e6 / slices)
            told.append(
                f.SliceUsed(
                    at_ms=at_ms + offset,
                    slice_id=slice_id,
                    device_ns=used,
                    throttled_ns=draw.randrange(10**9),
                    calls=used // 10**7,
                    span_ms=11_000,
                )
            )
            if (at_ms - START_MS) % POWERED_MS == 0 and told[-1].at_ms and slice_id == late[0][1]:
                told += [
                    f.DevicePowered(
                        at_ms=at_ms + offset,
                        node=n,
                        device=d,
                        span_ms=POWERED_MS,
                        energy_mj=draw.randrange(4_000_000, 18_000_000),
                    )
                    for n, d in names
                ]
        yield told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--slices", type=int, default=1, help="busy slices a device")
    parser.add_argument("--hours", type=int, default=2)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--database", help="an empty one [default: an SQLite file in a temporary folder]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, SqlStore(arguments.database or sqlite_url(Path(folder, "broker.sqlite"))))


def run(arguments: argparse.Namespace, store: SqlStore) -> None:
    count, start = 0, time.perf_counter()
    books = Books()
    for told in facts(arguments.devices, arguments.slices, arguments.hours, arguments.seed):
        store.append(told)
        count += len(told)
        for fact in told:
            books.apply(fact)
    took_s = time.perf_counter() - start
    print(f"{count:,} facts of {arguments.devices} devices x {arguments.slices} slices journalled: {took_s:.0f} s")
    whole = size(store)
    print(f"{whole / count:.0f} bytes a record with its index")
    settle(store, books)
    hours, per_hour = fold(store)
    a_year(arguments, hours, per_hour, whole / arguments.hours)
    store.close()


def settle(store: SqlStore, books: Books) -> None:
    """Have everything counted and a snapshot taken, as far as folding asks for it."""
    head, state = store.journal.head, MeterState(slices={}, places={}, ended=[], reservations={})
    RollupStore(store.database).keep(0, Counted(seq=head.seq, crc=head.crc, meter=state, entries=[]), [])
    store.snapshots.write(Snapshot(link=head, shape=SHAPE, data=freeze(books)))


def fold(store: SqlStore) -> tuple[int, float]:
    """Fold all there is while turns go on beside it; return hours and bytes an hour."""
    writer, waits, stop = FoldWriter(store.database, store.writer), [0.0], threading.Event()

    def turns() -> None:
        while not stop.wait(0.005):
            began = time.perf_counter()
            store.writer.check()
            waits.append(time.perf_counter() - began)

    thread = threading.Thread(target=turns)
    thread.start()
    start, before, hours, planned = time.perf_counter(), rows(store), 0, 0.0
    for one in next_folds(store.database, START_MS * 2):
        planned += time.perf_counter() - start
        hours += writer.keep(one)
        swept = time.perf_counter()
        writer.sweep()
        print(f"an hour: worked out in {planned:.1f} s, its records taken out in {time.perf_counter() - swept:.1f} s")
        start, planned = time.perf_counter(), 0.0
    stop.set()
    thread.join()
    waits.sort()
    gone, (p50, p99, most) = before - rows(store), (waits[int((len(waits) - 1) * part)] * 1e3 for part in (0.5, 0.99, 1))
    print(
        f"{hours} hours folded, {gone:,} records gone in the meantime of {len(waits):,} turns, each of which waited for the store"
    )
    print(f"{p50:.1f} ms (p50), {p99:.1f} ms (p99), {most:.1f} ms (the longest)")
    with store.database.engine.connect() as connection:
        kept = connection.scalar(sa.select(sa.func.sum(sa.func.length(folded_use.c.record)))) or 0
    return hours, kept / hours


def rows(store: SqlStore) -> int:
    with store.database.engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(journal)) or 0


def size(store: SqlStore) -> int:
    """Return the bytes of the journal with its indexes."""
    query = "SELECT pg_total_relation_size('journal')"
    if store.database.engine.dialect.name == "sqlite":
        query = "SELECT sum(pgsize) FROM dbstat WHERE name IN ('journal', 'journal_by_slice')"
    with store.database.engine.connect() as connection:
        return int(connection.scalar(sa.text(query)))


def a_year(arguments: argparse.Namespace, hours: int, per_hour: float, told_per_hour: float) -> None:
    scale = 1000 / arguments.devices
    print(f"folded: {per_hour:,.0f} bytes an hour, {per_hour / arguments.devices / arguments.slices:.1f} a slice")
    print(
        f"extrapolated from {hours} hours to a year of 1,000 devices x {arguments.slices} slices: "
        f"{per_hour * HOURS_A_YEAR * scale / 1e9:.2f} GB folded and {4 * told_per_hour * scale / 1e9:.2f} GB for three to four "
        f"hours as they were told; {told_per_hour * HOURS_A_YEAR * scale / 1e9:.0f} GB without folding"
    )


if __name__ == "__main__":
    main()
