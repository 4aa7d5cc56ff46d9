"""A broker folds old use while it serves; killed in the middle, it goes on, and no report changes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bench.month_facts import Month
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.core.accounting.grid import DAY_MS
from gpupool_broker.store.databases import open_database, sqlite_url
from gpupool_broker.store.report_tables import rollup_state
from gpupool_broker.store.sql import SqlStore
from gpupool_broker.store.tables import folded_use
from tests.broker.conftest import BrokerProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
LAST_MONTH = f"{datetime.now(UTC).date().replace(day=1) - timedelta(days=1):%Y-%m}"
FIGURES = ("rows", "total", "devices")
OPTIONS = ("--snapshot-every", "1000", "--report-every", "0.2")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the journal of four days of last month."""
    fresh = sqlite_url(tmp_path / "shared.sqlite")
    if request.param == "postgresql":
        fresh = request.getfixturevalue("postgres").new_database()
    store = SqlStore(fresh)
    period = period_of(LAST_MONTH)
    month = Month(period, tenants=4, devices=2, seed=5).facts()
    store.append(list(takewhile(lambda fact: fact.at_ms < period.start_ms + 4 * DAY_MS, month)))
    store.close()
    return fresh


def rows(url: str, query: sa.Select[tuple[int]]) -> int:
    database = open_database(url)
    try:
        with database.engine.connect() as connection:
            return connection.scalar(query) or 0
    finally:
        database.close()


def folds(url: str, *, swept: bool) -> int:
    return rows(url, sa.select(sa.func.count()).select_from(folded_use).where(folded_use.c.is_swept == int(swept)))


def recount(url: str) -> None:
    """Have the reports' ledger begin with an empty memory."""
    database = open_database(url)
    with database.engine.begin() as connection:
        connection.execute(sa.delete(rollup_state))
    database.close()


def until(holds: Callable[[], bool], within_s: float = 90.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def figures(broker: BrokerProcess) -> dict[str, Any]:
    status, report = broker.rest("GET", f"/api/v1/reports/{LAST_MONTH}?by=project")
    assert status == 200, report
    return {name: report[name] for name in FIGURES} | {"slices": broker.rest("GET", "/api/v1/slices")[1]}


def test_a_broker_that_is_killed_while_it_folds_loses_no_use(start_broker: Any, url: str) -> None:
    before = start_broker(None, "--database", url, "--keep-use", "0")
    expected = figures(before)
    before.kill()
    for killed_at in (1, 30):
        broker = start_broker(None, "--database", url, "--keep-use", "1", *OPTIONS)
        until(lambda at=killed_at: folds(url, swept=False) > 0 and folds(url, swept=True) >= at)  # type: ignore[misc]
        broker.kill()
    last = start_broker(None, "--database", url, "--keep-use", "1", *OPTIONS)
    until(lambda: folds(url, swept=True) > 90 and folds(url, swept=False) == 0)
    assert figures(last)["total"] == expected["total"]
    recount(url)
    assert {name: figures(last)[name] for name in FIGURES} == {name: expected[name] for name in FIGURES}
    verify = [sys.executable, "-m", "gpupool", "broker", "--verify-journal", "--database", url]
    done = subprocess.run(verify, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert b"records of the journal are as they were written" in done.stdout
