"""The journal counted up to now: days from the store, those of the open day from the meter's memory.

Time that has passed without a fact is counted in memory, for this report only: a fact that is still on its way into the journal
counts when it is there. What is kept is older than QUIET_MS or was counted from facts alone.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gpupool_broker.core.accounting.build import build
from gpupool_broker.core.accounting.calendar import Period, is_edge_of_month
from gpupool_broker.core.accounting.days import Day
from gpupool_broker.core.accounting.freezing import closed_report
from gpupool_broker.core.accounting.grid import DAY_MS
from gpupool_broker.core.accounting.meter import Meter
from gpupool_broker.core.accounting.prices import Tariff
from gpupool_broker.core.accounting.report import Report
from gpupool_broker.core.facts import CarbonSet, MonthFrozen, PriceSet
from gpupool_broker.store.databases import Database
from gpupool_broker.store.records import Link
from gpupool_broker.store.rollups import RollupStore
from gpupool_wire.errors import UsageError

#: Facts counted between two commits: a commit of some thousand days keeps the database for milliseconds.
CHUNK: Final = 200_000
#: Fewer new facts than that are cheaper to count again than to write the state.
WORTH_KEEPING: Final = 5_000
#: No fact takes so long from its moment into the journal.
QUIET_MS: Final = 3_600_000
#: Quarter hours are kept so long: a quarter of a year can be reported in every zone by day, and a week more to look at it.
FINE_DAYS: Final = 100


class Ledger:
    """Counts on when it is made; then gives reports."""

    def __init__(self, database: Database, now_ms: int, *, keep: bool = False) -> None:
        self._store = RollupStore(database)
        self._counted = self._store.counted()
        self.meter = Meter(self._counted.meter)
        self.tariff = Tariff()
        for entry in self._counted.entries:
            self.tariff.apply(entry)
        self._open: list[Day] = []
        if keep:
            self.thin(now_ms)
        self._count_on(keep, now_ms)
        self.meter.pass_time(now_ms)
        self._open += self.meter.days() + self.meter.today()

    def __repr__(self) -> str:
        return f"<Ledger, {self._counted.seq} facts, settled to {self.meter.settled_ms} ms>"

    def _count_on(self, keep: bool, now_ms: int) -> None:
        before = self._counted.seq
        link = first = Link(before, self._counted.crc)
        for link, fact in self._store.facts_after(first):
            self.meter.take(fact)
            if isinstance(fact, PriceSet | CarbonSet | MonthFrozen):
                self.tariff.apply(fact)
                self._counted.entries.append(fact)
            if link.seq - before >= CHUNK:
                self._keep(before, link)
                before = link.seq
        if keep:
            self.meter.pass_time(now_ms - QUIET_MS)
        if keep or link.seq - before >= WORTH_KEEPING:
            self._keep(before, link)
        self._counted.seq, self._counted.crc = link

    def _keep(self, before: int, link: Link) -> None:
        """Keep what is counted; what another process kept first is the same, so that nothing is lost by leaving it."""
        days = self.meter.days()
        self._open += days
        counted = msgspec.structs.replace(self._counted, seq=link.seq, crc=link.crc, meter=self.meter.state)
        if self._store.keep(before, counted, days):
            self._open.clear()

    def thin(self, now_ms: int) -> int:
        """Drop the quarter hours of days past their retention; return of how many records.

        Those of the first and the last day of a month stay: with them the month can be reported in every zone.
        """
        oldest, before = self._store.first_day(), now_ms // DAY_MS - FINE_DAYS
        if oldest is None or before <= self._counted.thinned_day:
            return 0
        days = range(max(oldest, self._counted.thinned_day), before)
        thinned = sum(self._store.thin(day) for day in days if not is_edge_of_month(day))
        self._counted.thinned_day = before
        return thinned

    @property
    def settled_ms(self) -> int:
        """Up to when use is counted."""
        return self.meter.settled_ms

    def days(self, period: Period) -> list[Day]:
        """Return the records of the UTC days a period touches."""
        first, last = period.start_ms // DAY_MS, (period.end_ms - 1) // DAY_MS
        kept = {(day.day, day.node, day.device, day.tenant): day for day in self._store.days(first, last)}
        kept |= {(day.day, day.node, day.device, day.tenant): day for day in self._open if first <= day.day <= last}
        return [kept[key] for key in sorted(kept)]

    def report(self, period: Period, *, by: str = "tenant", tenant: str | None = None) -> Report:
        """Return a period's report; of a closed month, as it was closed, with the adjustments. Raises UsageError."""
        if period.start_ms > self.meter.state.at_ms:
            raise UsageError(f"{period.name} has not begun in {period.zone}: there is nothing to report yet")
        days = self.days(period)
        if frozen := self.tariff.frozen_month(period.name, period.zone):
            return closed_report(days, self.tariff, period, frozen, by=by, tenant=tenant, counted_ms=self.settled_ms)
        return build(days, self.tariff, period, by=by, tenant=tenant, counted_ms=self.settled_ms)
