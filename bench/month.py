"""A month of a pool through the journal: how long its reports take, how much is kept, and whether another computation agrees.

    python -m bench.month                                   50 tenants on 200 null devices, the month of October 2026
    python -m bench.month --tenants 8 --devices 8           a small one, in seconds
    python -m bench.month --fold                            then fold its use: the same report again
    python -m bench.month --zone Europe/Berlin --keep FILE  its month has 745 hours; keep the database

The facts are `month_facts`', the second computation is `recompute`'s. Times of reports are those of the whole process that the
broker starts for one, from start to end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import islice, takewhile
from pathlib import Path

import msgspec
import sqlalchemy as sa

from bench.month_facts import HOUR_MS, Month
from bench.recompute import Sums, recompute
from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.calendar import Period, period_of
from gpupool_broker.core.accounting.days import Day
from gpupool_broker.core.accounting.report import Report
from gpupool_broker.reports.folding import next_folds
from gpupool_broker.reports.ledger import FINE_DAYS, Ledger
from gpupool_broker.reports.orders import Answer, Make, Place
from gpupool_broker.store.databases import open_database, sqlite_url
from gpupool_broker.store.fold_writer import FoldWriter
from gpupool_broker.store.report_tables import rollup_state, rollups
from gpupool_broker.store.snapshots import Snapshot
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.store.tables import folded_use, journal

CHUNK = 20_000
EXACT = ("held_ms", "reserved_pct_ms", "reserved_mib_ms")
DIVIDED = ("used_ns", "burst_ns", "idle_ns", "active_mj", "idle_mj")
PRICE = {
    "reserved_pct_hour": "0.0213",
    "memory_gib_hour": "0.0011",
    "used_hour": "0.7",
    "burst_hour": "0.3",
    "idle_pct_hour": "0.001",
    "energy_kwh": "0.31",
}


def disagreements(report: Report, other: dict[str, Sums]) -> list[str]:
    """Return in what a report by project and the other computation differ by more than whole units can."""
    found = (
        [f"tenants: {sorted({row.key for row in report.rows} ^ set(other))}"]
        if {r.key for r in report.rows} != set(other)
        else []
    )
    for row in report.rows:
        theirs = other[row.key]
        found += [f"{row.key} {name}" for name in EXACT if getattr(row.sums, name) != getattr(theirs, name)]
        found += [
            f"{row.key} {name}: {float(getattr(theirs, name) - getattr(row.sums, name)):+.1f} in {theirs.divisions} divisions"
            for name in DIVIDED
            if abs(getattr(theirs, name) - getattr(row.sums, name)) > theirs.divisions
        ]
        if sum(theirs.waits.values()) != row.grants:
            found.append(f"{row.key} grants")
    return found


def journalled(store: SqlStore, facts: Iterable[f.Fact]) -> list[f.Fact]:
    """Append facts as a broker would, some thousand a commit; return them."""
    kept: list[f.Fact] = []
    source = iter(facts)
    while chunk := list(islice(source, CHUNK)):
        store.append(chunk)
        kept += chunk
    return kept


def timed_report(place: Place, now_ms: int, form: str, **asked: str) -> tuple[float, int]:
    """Return seconds and bytes of a report made by a process of its own, as the broker has it made."""
    order = Make(place=place, now_ms=now_ms, format=form, **asked)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "gpupool_broker.reports"], input=msgspec.msgpack.encode(order), capture_output=True, check=True
    )
    took = time.perf_counter() - start
    answer = msgspec.msgpack.decode(done.stdout, type=Answer)
    assert answer.error is None, answer.error
    return took, len(answer.body)


def show_sizes(engine: sa.Engine, devices: int, journal_bytes: int) -> None:
    """Print what is kept, and what a year of a thousand devices would take."""
    with engine.connect() as connection:
        rows, first, last = connection.execute(
            sa.select(sa.func.count(), sa.func.min(rollups.c.day), sa.func.max(rollups.c.day))
        ).one()
        state = connection.scalar(sa.select(sa.func.length(rollup_state.c.record)))
        pages = connection.scalar(sa.text("SELECT sum(pgsize) FROM dbstat WHERE name = 'rollups'"))
        records = connection.execute(sa.select(rollups.c.record)).scalars().all()
    days, whole = last - first + 1, sum(map(len, records))
    bare = sum(len(msgspec.msgpack.encode(_without_quarters(record))) for record in records)
    fine = pages / days / devices
    # A thinned record takes the room of its bytes, and of the page around it as much more as a fine one does.
    thin = fine * bare / whole
    print(f"journal {journal_bytes / 1e6:.0f} MB; rollups {rows:,} records in {pages / 1e6:.1f} MB; state {state / 1e6:.2f} MB")
    kept = FINE_DAYS + (365 - FINE_DAYS) * 24 // 365
    year = kept * fine + (365 - kept) * thin
    print(f"{fine:.0f} bytes a device and day, {thin:.0f} without quarter hours. Extrapolated, a year of 1,000 devices: ", end="")
    print(f"{365 * fine * 1000 / 1e9:.2f} GB with all quarter hours, {year * 1000 / 1e9:.2f} GB with those that are kept")


def _without_quarters(record: bytes) -> Day:
    day = msgspec.msgpack.decode(record, type=Day)
    day.cells = None
    return day


def folded(store: SqlStore, place: Place, now_ms: int, arguments: argparse.Namespace, before: Report) -> list[str]:
    """Fold all use, have everything counted anew; return in what the month's report is another then."""
    start, writer = time.perf_counter(), FoldWriter(store.database, store.writer)
    store.snapshots.write(Snapshot(link=store.journal.head, shape=0, data=b""))
    hours = sum(1 for _ in takewhile(writer.keep, next_folds(store.database, now_ms)))
    worked_out_s = time.perf_counter() - start
    writer.sweep()
    with store.database.engine.begin() as connection:
        left = connection.scalar(sa.select(sa.func.count()).select_from(journal))
        kept = connection.scalar(sa.select(sa.func.sum(sa.func.length(folded_use.c.record))))
        connection.execute(sa.delete(rollup_state))
    print(f"{hours} hours folded in {worked_out_s:.0f} s, swept in {time.perf_counter() - start - worked_out_s:.0f} s:", end=" ")
    print(f"{left:,} records and {kept / 1e6:.1f} MB of folded use are left")
    start = time.perf_counter()
    after = Ledger(store.database, now_ms, keep=True).report(period_of(arguments.month, arguments.zone), by="project")
    print(f"counted anew in {time.perf_counter() - start:.1f} s", end=" ")
    seconds, _ = min(timed_report(place, now_ms, "json", period=arguments.month, zone=arguments.zone) for _ in range(3))
    same = after.figures_sha256() == before.figures_sha256()
    print(f"to {'the same hash' if same else 'ANOTHER HASH'}; its report (JSON) takes {seconds:.2f} s")
    return [] if same else ["folded, the month has other figures"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--month", default="2026-10")
    parser.add_argument("--zone", default="UTC")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--fold", action="store_true", help="fold its use, and count and report it once more")
    parser.add_argument("--keep", type=Path, help="keep the database here")
    arguments = parser.parse_args()
    period = period_of(arguments.month, arguments.zone)
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, period, arguments.keep or Path(folder, "broker.sqlite"))


def run(arguments: argparse.Namespace, period: Period, path: Path) -> None:
    month = Month(period, tenants=arguments.tenants, devices=arguments.devices, seed=arguments.seed)
    store, database = SqlStore(sqlite_url(path)), open_database(sqlite_url(path))
    price = f.PriceSet(at_ms=period.start_ms - 3 * HOUR_MS, by="bench", valid_from="2026-01-01", currency="EUR", **PRICE)
    start = time.perf_counter()
    facts = journalled(store, [price, *month.facts()])
    used = sum(isinstance(fact, f.SliceUsed) for fact in facts)
    print(
        f"{len(facts):,} facts ({used:,} of use) of {arguments.tenants} tenants on {arguments.devices} devices, seed "
        f"{arguments.seed}: made and journalled in {time.perf_counter() - start:.0f} s"
    )
    journal_bytes = path.stat().st_size
    now_ms = period.end_ms + 2 * HOUR_MS
    start = time.perf_counter()
    ledger = Ledger(database, now_ms, keep=True)
    took = time.perf_counter() - start
    print(f"counted in {took:.1f} s: {took / len(facts) * 1e6:.0f} µs a fact")
    show_sizes(database.engine, arguments.devices, journal_bytes)
    place = Place(database=sqlite_url(path), folder=str(path.parent))
    for form, asked in (
        ("json", {"zone": arguments.zone}),
        ("csv", {"zone": arguments.zone, "by": "day"}),
        ("xlsx", {"zone": arguments.zone}),
        ("pdf", {"zone": arguments.zone}),
        ("json", {"zone": "Asia/Kolkata"}),
        ("json", {"zone": "Asia/Kolkata", "by": "day"}),
    ):
        seconds, size = min(timed_report(place, now_ms, form, period=arguments.month, **asked) for _ in range(3))
        print(f"{form:5} {asked.get('by', 'tenant'):7} {asked['zone']:14} {seconds:5.2f} s  {size:9,} bytes (best of 3)")
    report = ledger.report(period, by="project")
    start = time.perf_counter()
    found = disagreements(report, recompute(facts, period.start_ms, period.end_ms))
    print(f"computed again in {time.perf_counter() - start:.0f} s: {len(report.rows)} tenants, {len(found)} disagreements")
    for one in found:
        print("  ", one)
    total = report.total
    print(f"total {total.total_cents / 100:,.2f} {report.currency}; whole GPUs instead {total.whole_cents / 100:,.2f}")
    if arguments.fold:
        found += folded(store, place, now_ms, arguments, report)
    database.close()
    store.close()
    if found:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
