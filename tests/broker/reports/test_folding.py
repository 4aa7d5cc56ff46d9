"""The broker's desk folds use beside the reports: by real processes, and without changing one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile

import pytest
import sqlalchemy as sa

from bench.month_facts import Month
from bench.recompute import recompute
from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.core.accounting.freezing import FROZEN_BY
from gpupool_broker.core.books import Books
from gpupool_broker.core.snapshot import SHAPE, freeze
from gpupool_broker.reports.desk import Desk
from gpupool_broker.reports.ledger import Ledger
from gpupool_broker.reports.orders import Place
from gpupool_broker.store.fold_writer import FoldWriter
from gpupool_broker.store.report_tables import rollup_state
from gpupool_broker.store.snapshots import Snapshot
from gpupool_broker.store.sql import SqlStore
from tests.broker.reports.conftest import HOUR_MS, START_MS

MONTH = period_of("2026-10")
NOW_MS = START_MS + 24 * 40 * HOUR_MS


def snapshot(store: SqlStore) -> None:
    books = Books()
    for fact in store.facts():
        books.apply(fact)
    store.snapshots.write(Snapshot(link=store.journal.head, shape=SHAPE, data=freeze(books)))


def recount(store: SqlStore, engine: sa.Engine) -> None:
    """Have the ledger begin with an empty memory."""
    with engine.begin() as connection:
        connection.execute(sa.delete(rollup_state))


@pytest.fixture
def desk(store: SqlStore, place: Place) -> Iterator[Desk]:
    desk = Desk(place, lambda: NOW_MS, 60, FoldWriter(store.database, store.writer), keep_use_s=3600)
    yield desk
    desk._schedules._engine.dispose()


def test_the_desk_folds_what_is_counted_and_reports_stay_the_same(
    store: SqlStore, desk: Desk, ledger: Callable[..., Ledger], facts: list[f.Fact], engine: sa.Engine
) -> None:
    store.append(facts)
    snapshot(store)
    assert desk.fold() == 0, "nothing is counted yet"
    desk.tend()
    before = ledger().report(MONTH)
    assert desk.fold() > 40
    assert ledger().report(MONTH) == before
    recount(store, engine)
    anew = ledger().report(MONTH)
    assert (anew.rows, anew.total, anew.devices) == (before.rows, before.total, before.devices)


def test_a_desk_that_keeps_use_for_ever_folds_nothing(store: SqlStore, place: Place, facts: list[f.Fact]) -> None:
    store.append(facts)
    snapshot(store)
    desk = Desk(place, lambda: NOW_MS, 60, FoldWriter(store.database, store.writer), keep_use_s=0)
    desk.tend()
    assert desk.fold() == 0
    assert list(store.facts()) == facts
    desk._schedules._engine.dispose()


def test_a_month_recounted_from_folds_keeps_its_hash_and_agrees_with_the_other_computation(
    store: SqlStore, desk: Desk, ledger: Callable[..., Ledger], engine: sa.Engine
) -> None:
    facts = Month(MONTH, tenants=4, devices=3, per_node=2, seed=9).facts()
    month = list(takewhile(lambda fact: fact.at_ms < START_MS + 24 * HOUR_MS, facts))
    store.append(month)
    snapshot(store)
    desk.tend()
    sha256 = ledger().report(MONTH, by=FROZEN_BY).figures_sha256()
    store.append([f.MonthFrozen(at_ms=NOW_MS, by="x", month="2026-10", zone="UTC", sha256=sha256, without_advice=True)])
    assert desk.fold() > 20
    recount(store, engine)
    report = ledger().report(MONTH, by=FROZEN_BY)
    assert not [note for note in report.notes if "does not give" in note]
    *folded, _frozen = store.facts()
    assert not any(isinstance(fact, f.SliceUsed) for fact in folded)
    within = START_MS, START_MS + 24 * HOUR_MS
    before, after = recompute(month, *within), recompute(folded, *within)
    assert before.keys() == after.keys()
    for tenant, sums in before.items():
        for name in ("used_ns", "burst_ns", "idle_ns", "active_mj", "idle_mj"):
            assert abs(getattr(sums, name) - getattr(after[tenant], name)) <= sums.divisions
