"""The journal counted on, piece by piece: the same figures however often and whenever it was counted."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.core.accounting.freezing import FROZEN_BY
from gpupool_broker.core.accounting.grid import DAY_MS
from gpupool_broker.reports.ledger import FINE_DAYS
from gpupool_broker.store.errors import JournalDamaged
from gpupool_broker.store.report_tables import rollup_state, rollups
from gpupool_wire.errors import UsageError
from tests.broker.reports.conftest import HOUR_MS, START_MS

MONTH = period_of("2026-10")


def test_counted_in_pieces_or_at_once_it_is_the_same(store, ledger, facts, engine) -> None:
    for at in range(0, len(facts), 17):
        store.append(facts[at : at + 17])
        ledger(hours=facts[min(at + 16, len(facts) - 1)].at_ms / HOUR_MS - START_MS / HOUR_MS, keep=True)
    in_pieces = ledger().report(MONTH)
    with engine.begin() as connection:
        connection.execute(sa.delete(rollup_state))
    assert ledger().report(MONTH) == in_pieces
    assert in_pieces.total.sums.used_ns == 3 * 44 * 7 * 10**10


def test_what_was_kept_is_not_counted_again(store, ledger, facts, monkeypatch) -> None:
    store.append(facts)
    first = ledger(keep=True).report(MONTH)
    monkeypatch.setattr("gpupool_broker.store.reader.fact_of", lambda _record: pytest.fail("counted again"))
    assert ledger().report(MONTH) == first


def test_a_fact_on_its_way_counts_when_it_is_there(store, ledger, facts) -> None:
    store.append(facts[:-1])
    ledger(hours=60, keep=True)
    store.append(facts[-1:])
    late = ledger().report(MONTH)
    assert late.rows[0].sums.held_ms == 59 * HOUR_MS


def test_a_state_of_another_version_is_counted_anew(store, ledger, facts, engine) -> None:
    store.append(facts)
    before = ledger(keep=True).report(MONTH)
    with engine.begin() as connection:
        connection.execute(sa.update(rollup_state).values(record=b"\x93old"))
    assert ledger(keep=True).report(MONTH) == before
    assert ledger().report(MONTH) == before


def test_a_missing_record_is_named(store, ledger, facts, engine) -> None:
    store.append(facts)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM journal WHERE seq = 5"))
    with pytest.raises(JournalDamaged, match="record 5 of the journal is missing"):
        ledger()


def test_a_month_that_has_not_begun_is_refused(store, ledger, facts) -> None:
    store.append(facts)
    with pytest.raises(UsageError, match="2026-12 has not begun"):
        ledger(hours=24).report(period_of("2026-12"))


def test_a_month_that_is_not_over_says_up_to_when_it_is_counted(store, ledger, facts) -> None:
    store.append(facts)
    report = ledger(hours=100.4).report(MONTH)
    assert not report.is_complete
    assert report.counted_ms == START_MS + int(100.0 * HOUR_MS)
    assert "not over" in " ".join(report.notes)


def test_quarter_hours_are_dropped_after_their_retention_and_days_stay(store, ledger, facts, engine) -> None:
    store.append(facts)
    before = ledger(keep=True).report(MONTH)
    in_tokyo = ledger().report(period_of("2026-10", "Asia/Tokyo"))
    late = 24 * (FINE_DAYS + 40)
    ledger(hours=late, keep=True)
    with engine.connect() as connection:
        fine = connection.execute(sa.select(rollups.c.day, sa.func.min(rollups.c.is_fine)).group_by(rollups.c.day)).all()
    first = START_MS // DAY_MS
    assert sorted(day - first for day, is_fine in fine if is_fine and day < first + 39) == [0, 30, 31]
    assert ledger(hours=late).report(MONTH) == before
    # The month's edges are kept, so that it can be had in every zone; its days in between cannot.
    assert ledger(hours=late).report(period_of("2026-10", "Asia/Tokyo")) == in_tokyo
    with pytest.raises(UsageError, match="ask in UTC"):
        ledger(hours=late).report(period_of("2026-10", "Asia/Tokyo"), by="day")


def test_a_frozen_month_keeps_its_figures_and_shows_what_changed(store, ledger, facts) -> None:
    store.append(facts)
    closed = ledger().report(MONTH, by=FROZEN_BY)
    frozen = f.MonthFrozen(at_ms=START_MS, by="x", month="2026-10", zone="UTC", sha256=closed.sha256(), entries=2)
    late = f.PriceSet(at_ms=START_MS, by="x", valid_from="2026-10-01", currency="EUR", reserved_pct_hour="0.0113")
    before = ledger().report(MONTH)
    store.append([frozen])
    unchanged = ledger().report(MONTH)
    store.append([late])
    after = ledger().report(MONTH)
    assert (unchanged.rows, unchanged.adjustments, unchanged.notes) == (before.rows, [], before.notes)
    assert (after.rows, after.total, after.frozen_sha256) == (before.rows, before.total, closed.sha256())
    assert [one.key for one in after.adjustments] == [row.key for row in closed.rows]
    assert all(one.cents < 0 for one in after.adjustments)
    other_zone = ledger().report(period_of("2026-10", "Europe/Berlin"))
    assert other_zone.frozen_sha256 is None


def test_a_journal_that_no_longer_gives_the_frozen_figures_says_so(store, ledger, facts) -> None:
    store.append([*facts, f.MonthFrozen(at_ms=START_MS, by="x", month="2026-10", zone="UTC", sha256="0" * 64, entries=2)])
    assert "does not give the figures" in " ".join(ledger().report(MONTH).notes)
