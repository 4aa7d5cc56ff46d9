"""Which prices, factors and closings can be entered."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from gpupool_broker.core.accounting.prices import RATES, Tariff
from gpupool_broker.core.facts import CarbonSet, Entry, MonthFrozen, PriceSet
from gpupool_wire.errors import Conflict, UsageError

#: Within these bounds a bill of a million devices for a year stays exact and printable.
RATE: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def check_entry(entry: Entry, tariff: Tariff) -> None:
    """Raise UsageError where an entry is none, Conflict where it comes too late."""
    match entry:
        case PriceSet():
            _check_day(entry.valid_from)
            _check_rates({name: getattr(entry, name) for name in RATES})
            _check_currency(entry.currency, tariff)
        case CarbonSet():
            _check_day(entry.valid_from)
            _check_rates({"grams_per_kwh": entry.grams_per_kwh})
        case MonthFrozen() if tariff.frozen_month(entry.month, entry.zone):
            raise Conflict(f"{entry.month} in {entry.zone} is frozen already: what changes now is shown as adjustments")
        case MonthFrozen() if entry.entries != len(tariff.entries):
            raise Conflict("prices or factors were entered while the month was counted: freeze it again")


def _check_day(text: str) -> None:
    try:
        is_day = DAY.fullmatch(text) is not None and date.fromisoformat(text) is not None
    except ValueError:
        is_day = False
    if not is_day:
        raise UsageError(f"{text[:64]!r} is no day: give it as 2026-10-01")


def _check_rates(rates: dict[str, str]) -> None:
    for name, text in rates.items():
        if not RATE.fullmatch(text):
            raise UsageError(f"{name} {text[:64]!r} is no rate: digits, and at most nine of them after a point")


def _check_currency(currency: str, tariff: Tariff) -> None:
    if not CURRENCY.fullmatch(currency):
        raise UsageError(f"{currency[:64]!r} is no currency: three capital letters, such as EUR")
    if tariff.currency not in (None, currency):
        raise UsageError(f"the price list is in {tariff.currency}: a price in {currency} cannot be added to it")
