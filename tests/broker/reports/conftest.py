"""A store with a journal of one small pool, and reports made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.core.accounting.report import Report
from gpupool_broker.reports.ledger import Ledger
from gpupool_broker.reports.orders import Place
from gpupool_broker.store.databases import Database, open_database, sqlite_url
from gpupool_broker.store.sql import SqlStore
from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import Hold, Policy

HOUR_MS = 3_600_000
START_MS = period_of("2026-10").start_ms
NASTY = '=HYPERLINK("x")'
CHINESE = "财务部"


def granted(hours: float, slice_id: str, tenant: str, pct: int = 25, policy: Policy = Policy.FIXED) -> f.SliceGranted:
    return f.SliceGranted(
        at_ms=START_MS + int(hours * HOUR_MS),
        slice_id=slice_id,
        epoch=1,
        request_id=slice_id,
        tenant=tenant,
        node="node-1",
        device="g0",
        compute_pct=pct,
        memory_mib=2048,
        policy=policy,
        hold=Hold.HELD,
        waited_ms=1500,
    )


def pool() -> list[f.Fact]:
    """A device, three tenants with difficult names, two days of use and energy, a price list."""
    device = DeviceInfo(device="g0", kind="null", model="null", memory_mib=16_384)
    facts: list[f.Fact] = [
        f.PriceSet(
            at_ms=START_MS,
            by="admin",
            valid_from="2026-10-01",
            currency="EUR",
            reserved_pct_hour="0.0213",
            memory_gib_hour="0.011",
            used_hour="0.7",
            burst_hour="0.3",
            idle_pct_hour="0.001",
            energy_kwh="0.31",
        ),
        f.CarbonSet(at_ms=START_MS, by="admin", valid_from="2026-10-01", grams_per_kwh="363.5"),
        f.NodeJoined(at_ms=START_MS, node="node-1", door="d", devices=[device]),
        granted(1, "a", NASTY),
        granted(2.5, "b", CHINESE, policy=Policy.BURST),
        granted(3, "c", "lab/vision"),
    ]
    for hour in range(4, 48):
        at_ms = START_MS + hour * HOUR_MS
        facts += [
            f.SliceUsed(at_ms=at_ms, slice_id=one, device_ns=7 * 10**10, throttled_ns=0, calls=1, span_ms=600_000)
            for one in "abc"
        ]
        facts.append(f.DevicePowered(at_ms=at_ms, node="node-1", device="g0", span_ms=600_000, energy_mj=180_000_000))
    return [*facts, f.SliceEnded(at_ms=START_MS + 60 * HOUR_MS, slice_id="a", epoch=2, how="released")]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: what is kept for reports is the same on both."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "broker.sqlite")
    fresh: str = request.getfixturevalue("postgres").new_database()
    return fresh


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = SqlStore(url)
    yield store
    store.close()


@pytest.fixture
def database(store: SqlStore, url: str) -> Iterator[Database]:
    """The store's database once more, as the process that makes reports opens it."""
    database = open_database(url)
    yield database
    database.close()


@pytest.fixture
def engine(database: Database) -> sa.Engine:
    return database.engine


@pytest.fixture
def place(url: str, tmp_path: Path) -> Place:
    return Place(database=url, folder=str(tmp_path / "reports"))


@pytest.fixture
def ledger(store: SqlStore, database: Database) -> Callable[..., Ledger]:
    """Return a function that counts the journal as of an hour since the first of October."""

    def count(hours: float = 24 * 40, **options: bool) -> Ledger:
        return Ledger(database, START_MS + int(hours * HOUR_MS), **options)

    return count


@pytest.fixture
def report(store: SqlStore, ledger: Callable[..., Ledger]) -> Report:
    store.append(pool())
    return ledger().report(period_of("2026-10"))


@pytest.fixture
def facts() -> list[f.Fact]:
    return pool()
