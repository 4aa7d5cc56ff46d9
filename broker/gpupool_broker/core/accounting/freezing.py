"""A closed month and what has changed since: the figures it was closed with stay, later prices appear as adjustments.

What is counted of a closed month cannot change: its facts are in the journal. What can is what it costs, by a price entered later
for a day that is over. So the closed report is made with the entries of its closing, in every grouping, and the adjustments are
what the bills would be now less what they were.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpupool_broker.core.accounting.build import build, is_within
from gpupool_broker.core.accounting.calendar import Period
from gpupool_broker.core.accounting.days import Day
from gpupool_broker.core.accounting.prices import Tariff
from gpupool_broker.core.accounting.report import Adjustment, Report
from gpupool_broker.core.facts import MonthFrozen

#: What the hash of a closed month is taken of: every bill there is.
FROZEN_BY = "project"


def closed_report(
    days: Sequence[Day],
    tariff: Tariff,
    period: Period,
    frozen: MonthFrozen,
    *,
    by: str = "tenant",
    tenant: str | None = None,
    counted_ms: int,
) -> Report:
    """Return a closed month's report as `build` would have made it then, with its hash and the adjustments since."""
    then = tariff.as_frozen(frozen)
    report = build(days, then, period, by=by, tenant=tenant, counted_ms=counted_ms)
    closed = build(days, then, period, by=FROZEN_BY, counted_ms=counted_ms)
    now = build(days, tariff, period, by=FROZEN_BY, counted_ms=counted_ms)
    report.frozen_sha256 = frozen.sha256
    report.adjustments = [one for one in _adjustments(closed, now) if is_within(one.key, tenant)]
    found = closed.figures_sha256() if frozen.without_advice else closed.sha256()
    if found != frozen.sha256:
        report.notes.append(
            f"The journal does not give the figures this month was frozen with (hash {frozen.sha256[:16]}, now "
            f"{found[:16]}): compare with the report that was kept."
        )
    return report


def _adjustments(closed: Report, now: Report) -> list[Adjustment]:
    before = {row.key: row.total_cents or 0 for row in closed.rows}
    after = {row.key: row.total_cents or 0 for row in now.rows}
    return [
        Adjustment(key=key, frozen_cents=before[key], now_cents=after[key]) for key in sorted(before) if before[key] != after[key]
    ]
