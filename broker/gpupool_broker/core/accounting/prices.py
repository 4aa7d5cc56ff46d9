"""Price lists and carbon factors with the days they hold from, and what a sum of use costs by them.

Rates are decimal numbers and are never rounded; an amount is a fraction until its tenant's bill is rounded (see `bills`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Final

from gpupool_broker.core.accounting.grid import NS_PER_PCT_MS
from gpupool_broker.core.accounting.sums import Sums
from gpupool_broker.core.facts import CarbonSet, Entry, MonthFrozen, PriceSet

HOUR_MS: Final = 3_600_000
MIB_PER_GIB: Final = 1024
NS_PER_HOUR: Final = HOUR_MS * 1_000_000
MJ_PER_KWH: Final = 3_600_000_000
#: What a bill is made of, in the order it is shown.
COMPONENTS: Final = ("reserved", "memory", "used", "burst", "idle", "energy")
RATES: Final = ("reserved_pct_hour", "memory_gib_hour", "used_hour", "burst_hour", "idle_pct_hour", "energy_kwh")


@dataclass(frozen=True, slots=True)
class Rates:
    """What one model costs while no other price holds."""

    currency: str
    reserved_pct_hour: Fraction
    memory_gib_hour: Fraction
    used_hour: Fraction
    burst_hour: Fraction
    idle_pct_hour: Fraction
    energy_kwh: Fraction

    def amounts(self, sums: Sums) -> tuple[Fraction, ...]:
        """Return what each of COMPONENTS costs, exactly."""
        return (
            Fraction(sums.reserved_pct_ms, HOUR_MS) * self.reserved_pct_hour,
            Fraction(sums.reserved_mib_ms, HOUR_MS * MIB_PER_GIB) * self.memory_gib_hour,
            Fraction(sums.used_ns - sums.burst_ns, NS_PER_HOUR) * self.used_hour,
            Fraction(sums.burst_ns, NS_PER_HOUR) * self.burst_hour,
            Fraction(sums.idle_ns, NS_PER_PCT_MS * HOUR_MS) * self.idle_pct_hour,
            Fraction(sums.active_mj + sums.idle_mj, MJ_PER_KWH) * self.energy_kwh,
        )


@dataclass
class Tariff:
    """Every price and factor that was entered; of two for the same model and day the later entry holds."""

    entries: list[PriceSet | CarbonSet] = field(default_factory=list)
    frozen: list[MonthFrozen] = field(default_factory=list)

    def apply(self, fact: Entry) -> None:
        """Take an entry."""
        match fact:
            case PriceSet() | CarbonSet():
                self.entries.append(fact)
            case MonthFrozen():
                self.frozen.append(fact)

    @property
    def prices(self) -> list[PriceSet]:
        """Every price, in the order of their entry."""
        return [entry for entry in self.entries if isinstance(entry, PriceSet)]

    @property
    def carbons(self) -> list[CarbonSet]:
        """Every carbon factor, in the order of their entry."""
        return [entry for entry in self.entries if isinstance(entry, CarbonSet)]

    def as_frozen(self, frozen: MonthFrozen) -> Tariff:
        """Return the tariff as it was when a month was closed."""
        return Tariff(self.entries[: frozen.entries])

    @property
    def currency(self) -> str | None:
        """The currency of the list; None while it is empty."""
        return next((price.currency for price in self.prices), None)

    def rates(self, model: str, day: date) -> Rates | None:
        """Return what a model costs on a day; None where no price holds."""
        text = day.isoformat()
        holding = [price for price in self.prices if price.valid_from <= text and price.model in ("", model)]
        if not holding:
            return None
        # A model's own price goes before the general one; then the latest day, then the latest entry.
        ranked = max(enumerate(holding), key=lambda item: (item[1].model != "", item[1].valid_from, item[0]))[1]
        return Rates(ranked.currency, *(Fraction(getattr(ranked, rate)) for rate in RATES))

    def grams_per_kwh(self, day: date) -> Fraction | None:
        """Return the carbon factor of a day; None where none holds."""
        holding = [carbon for carbon in self.carbons if carbon.valid_from <= day.isoformat()]
        if not holding:
            return None
        return Fraction(max(enumerate(holding), key=lambda item: (item[1].valid_from, item[0]))[1].grams_per_kwh)

    def frozen_month(self, month: str, zone: str) -> MonthFrozen | None:
        """Return the closing of a month in a zone; None while it is open."""
        return next((known for known in self.frozen if (known.month, known.zone) == (month, zone)), None)

    def changes(self) -> list[date]:
        """Return the days on which something may cost otherwise than the day before."""
        return sorted({date.fromisoformat(entry.valid_from) for entry in self.entries})
