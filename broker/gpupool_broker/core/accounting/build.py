"""Days in, a report out.

days ──cut at the period's local days and price changes──> sums by (tenant, line, model, rates) ──> bills ──> rows, total
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Final

from gpupool_broker.core.accounting.advice import right_size
from gpupool_broker.core.accounting.bills import half_up, parts_of
from gpupool_broker.core.accounting.calendar import Period, label_of, midnight_ms
from gpupool_broker.core.accounting.days import Day
from gpupool_broker.core.accounting.grid import DAY_MS, DAY_QUARTERS, QUARTER_MS
from gpupool_broker.core.accounting.prices import COMPONENTS, MJ_PER_KWH, Tariff
from gpupool_broker.core.accounting.report import GROUPINGS, Devices, Report, Row
from gpupool_broker.core.accounting.sums import Sums
from gpupool_broker.core.accounting.waits import percentile
from gpupool_wire.errors import UsageError

_BY_TIME: Final = ("day", "week", "month")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the period in which neither the line nor the prices change: quarters first..last (exclusive) since 1970."""

    first: int
    last: int
    label: str
    #: A day of it, for prices.
    day: date


@dataclass(slots=True)
class _Line:
    """One line of one tenant, before it is rounded."""

    sums: Sums = field(default_factory=Sums)
    amounts: list[Fraction] = field(default_factory=lambda: [Fraction()] * len(COMPONENTS))
    whole: Fraction = Fraction()
    grams: Fraction = Fraction()
    waits: Counter[int] = field(default_factory=Counter)


def segments_of(period: Period, by: str, changes: Iterable[date]) -> list[Segment]:
    """Return the period cut into segments, in order."""
    changes = set(changes)
    cuts: list[tuple[date, str]] = []
    day = period.first
    while day < period.end:
        label = label_of(day, by) if by in _BY_TIME else ""
        if not cuts or label != cuts[-1][1] or day in changes:
            cuts.append((day, label))
        day += timedelta(days=1)
    ends = [first for first, _ in cuts[1:]] + [period.end]
    quarters = [(midnight_ms(day, period.zone) // QUARTER_MS) for day in [first for first, _ in cuts] + [period.end]]
    return [
        Segment(quarters[i], quarters[i + 1], label, first) for i, ((first, label), _) in enumerate(zip(cuts, ends, strict=True))
    ]


def is_within(tenant: str, of: str | None) -> bool:
    """Whether a tenant is another, or one of its projects ("a/b" is project b of tenant a). None is everybody."""
    return of is None or tenant == of or tenant.startswith(f"{of}/")


def build(
    days: Iterable[Day], tariff: Tariff, period: Period, *, by: str = "tenant", tenant: str | None = None, counted_ms: int
) -> Report:
    """Return the report of a period. `days` are the records of the UTC days it touches; it is counted up to `counted_ms`.

    Raises UsageError where it cannot be grouped so, or where quarter hours it needs are past their retention.
    """
    if by not in GROUPINGS:
        raise UsageError(f"a report cannot be grouped by {by[:64]!r}: by one of {', '.join(GROUPINGS)}")
    if counted_ms <= period.start_ms:
        counted_ms = period.start_ms
    collector = _Collector(period, tariff, by, tenant)
    for day in days:
        collector.add(day)
    return collector.report(min(counted_ms, period.end_ms))


class _Collector:
    """Adds days up."""

    def __init__(self, period: Period, tariff: Tariff, by: str, tenant: str | None) -> None:
        self.period, self.tariff, self.by, self.tenant = period, tariff, by, tenant
        self.start_ms, self.end_ms = period.start_ms, period.end_ms
        self.segments = segments_of(period, by, tariff.changes())
        self._of_day: dict[int, list[tuple[int, int, int]]] = {}
        #: (tenant, line, model, segment) → sums; and of grants, (tenant, line) → waits.
        self.sums: dict[tuple[str, str, str, int], Sums] = defaultdict(Sums)
        self.waits: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        self.devices = Devices()
        self.seen: set[tuple[str, str]] = set()
        self.held: list[Day] = []

    def _parts(self, day: int) -> list[tuple[int, int, int]]:
        """Return (segment, first quarter of the day, last) of every segment a UTC day has a part of."""
        if day not in self._of_day:
            base = day * DAY_QUARTERS
            self._of_day[day] = [
                (number, max(0, segment.first - base), min(DAY_QUARTERS, segment.last - base))
                for number, segment in enumerate(self.segments)
                if segment.first < base + DAY_QUARTERS and segment.last > base
            ]
        return self._of_day[day]

    def add(self, day: Day) -> None:
        if day.tenant and not is_within(day.tenant, self.tenant):
            return
        parts = self._parts(day.day)
        if not parts:
            return
        try:
            sums = day.parts([(first, last) for _, first, last in parts])
        except ValueError as error:
            raise UsageError(
                f"{self.period.name} in {self.period.zone} cannot be reported any more: {error}; ask in UTC"
            ) from None
        for (number, first, last), columns in zip(parts, sums, strict=True):
            if day.tenant:
                self._add_tenant(day, number, columns, first, last)
            else:
                self._add_device(day, columns)
        if day.tenant and self.start_ms <= day.day * DAY_MS < self.end_ms:
            self.held.append(day)

    def _add_device(self, day: Day, columns: list[int]) -> None:
        devices = self.devices
        self.seen.add((day.node, day.device))
        devices.up_ms += columns[0]
        devices.held_ms += columns[1]
        devices.energy_mj += columns[2]
        devices.unheld_mj += columns[3]
        devices.powered_ms += columns[4]

    def _add_tenant(self, day: Day, number: int, columns: list[int], first: int, last: int) -> None:
        line = self._line(day, self.segments[number].label)
        self.sums[day.tenant, line, day.model, number].add(columns, day.memory_mib)
        for quarter, wait, grants in day.waits:
            if first <= quarter < last:
                self.waits[day.tenant, line][wait] += grants

    def _line(self, day: Day, label: str) -> str:
        match self.by:
            case "tenant":
                return day.tenant.partition("/")[0]
            case "project":
                return day.tenant
            case "model":
                return day.model
            case "node":
                return day.node
        return label

    # ── rows ──────

    def report(self, counted_ms: int) -> Report:
        self.devices.count = len(self.seen)
        if self.tenant is not None:
            # A tenant's report says nothing of the others; what was measured is said all the same.
            self.devices = Devices(up_ms=self.devices.up_ms, powered_ms=self.devices.powered_ms)
        unpriced: set[str] = set()
        lines = self._lines(unpriced)
        rows = self._rows(lines)
        return Report(
            name=self.period.name,
            zone=self.period.zone,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            counted_ms=counted_ms,
            by=self.by,
            tenant=self.tenant,
            rows=rows,
            total=self._total(rows),
            devices=self.devices,
            currency=self.tariff.currency,
            advice=right_size(self.held),
            notes=self._notes(rows, unpriced, counted_ms),
        )

    def _lines(self, unpriced: set[str]) -> dict[tuple[str, str], _Line]:
        """Return (tenant, line) → what it is, exactly."""
        lines: dict[tuple[str, str], _Line] = defaultdict(_Line)
        for (tenant, key, model, number), sums in sorted(self.sums.items()):
            line, day = lines[tenant, key], self.segments[number].day
            line.sums.merge(sums)
            if rates := self.tariff.rates(model, day):
                line.amounts = [a + b for a, b in zip(line.amounts, rates.amounts(sums), strict=True)]
                line.whole += sum(rates.amounts(sums.as_whole()), Fraction())
            elif sums.held_ms:
                unpriced.add(model)
            line.grams += Fraction(sums.active_mj + sums.idle_mj, MJ_PER_KWH) * (self.tariff.grams_per_kwh(day) or 0)
        for where, waits in self.waits.items():
            lines[where].waits.update(waits)
        return lines

    def _rows(self, lines: dict[tuple[str, str], _Line]) -> list[Row]:
        """Round every tenant's bill, and add its parts up by line."""
        rows: dict[str, Row] = {}
        waits: dict[str, Counter[int]] = defaultdict(Counter)
        by_tenant: dict[str, list[tuple[str, _Line]]] = defaultdict(list)
        for (tenant, key), line in sorted(lines.items()):
            by_tenant[tenant].append((key, line))
            waits[key].update(line.waits)
        for mine in by_tenant.values():
            cents = parts_of([100 * amount for _, line in mine for amount in line.amounts])
            wholes = parts_of([100 * line.whole for _, line in mine])
            grams = parts_of([line.grams for _, line in mine])
            for i, (key, line) in enumerate(mine):
                row = rows.setdefault(key, Row(key=key, sums=Sums(), cents=self._no_cents(), whole_cents=0, grams=0))
                row.sums.merge(line.sums)
                row.cents = [a + b for a, b in zip(row.cents, cents[i * len(COMPONENTS) :], strict=False)]
                row.whole_cents = (row.whole_cents or 0) + wholes[i]
                row.grams = (row.grams or 0) + grams[i]
        return [self._finished(row, waits[key]) for key, row in sorted(rows.items())]

    def _no_cents(self) -> list[int]:
        return [0] * len(COMPONENTS) if self.tariff.prices else []

    def _finished(self, row: Row, waits: Counter[int]) -> Row:
        row.grants = waits.total()
        row.wait_p50_ms, row.wait_p95_ms = percentile(waits, 50), percentile(waits, 95)
        if not self.tariff.prices:
            row.whole_cents = None
        if not self.tariff.carbons or not self.devices.powered_ms:
            row.grams = None
        return row

    def _total(self, rows: list[Row]) -> Row:
        total = Row(key="total", sums=Sums(), cents=self._no_cents(), whole_cents=0, grams=0)
        waits: Counter[int] = Counter()
        for row in rows:
            total.sums.merge(row.sums)
            total.cents = [a + b for a, b in zip(total.cents, row.cents, strict=True)]
            total.whole_cents = (total.whole_cents or 0) + (row.whole_cents or 0)
            total.grams = (total.grams or 0) + (row.grams or 0)
        for counts in self.waits.values():
            waits.update(counts)
        return self._finished(total, waits)

    def _notes(self, rows: list[Row], unpriced: set[str], counted_ms: int) -> list[str]:
        devices, notes = self.devices, []
        if not rows:
            notes.append("Nobody held anything in this time.")
        if counted_ms < self.end_ms:
            notes.append("The period is not over, or not settled yet: the figures are those counted so far.")
        if not self.tariff.prices:
            notes.append("No prices are set: `gpupool prices set` sets them.")
        elif unpriced:
            notes.append(f"No price held for: {', '.join(sorted(unpriced))}. Their use is in the figures, and costs nothing.")
        if not devices.powered_ms:
            notes.append("Energy: not measured. No device told its energy in this time.")
        elif devices.powered_ms < devices.up_ms:
            share = half_up(Fraction(1000 * devices.powered_ms, devices.up_ms))
            notes.append(
                f"Energy was measured in {share // 10}.{share % 10} % of the time devices were there; the rest is not in it."
            )
        return notes
