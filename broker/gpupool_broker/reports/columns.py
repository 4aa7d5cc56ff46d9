"""What a report shows of its rows: one table for all formats, so that they cannot differ.

Amounts of money are whole cents and add up. Other amounts are exact fractions, shown rounded (half up) each by itself; the exact
integers are in the JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from gpupool_broker.core.accounting.bills import half_up
from gpupool_broker.core.accounting.calendar import zone_of
from gpupool_broker.core.accounting.prices import COMPONENTS, HOUR_MS, MIB_PER_GIB, MJ_PER_KWH, NS_PER_HOUR
from gpupool_broker.core.accounting.report import Report, Row

Value = Decimal | int | None


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a row. `value` is None where it is not known: not measured, or no price set."""

    name: str
    title: str
    unit: str
    digits: int
    value: Callable[[Report, Row], Value]


def rounded(amount: Fraction, digits: int) -> Decimal:
    """Return an amount with so many digits, half up."""
    return Decimal(half_up(amount * 10**digits)).scaleb(-digits)


def _ratio(name: str, title: str, unit: str, digits: int, per: int, *fields: str) -> Column:
    def value(_report: Report, row: Row) -> Value:
        return rounded(Fraction(sum(getattr(row.sums, field) for field in fields), per), digits)

    return Column(name, title, unit, digits, value)


def _energy(name: str, title: str, *fields: str) -> Column:
    shown = _ratio(name, title, "kWh", 3, MJ_PER_KWH, *fields)
    return Column(name, title, "kWh", 3, lambda report, row: shown.value(report, row) if report.is_energy_measured else None)


def _money(name: str, title: str, cents: Callable[[Row], int | None]) -> Column:
    def value(_report: Report, row: Row) -> Value:
        amount = cents(row)
        return None if amount is None else Decimal(amount).scaleb(-2)

    return Column(name, title, "money", 2, value)


def _component(index: int, name: str) -> Column:
    return _money(f"cost_{name}", f"Cost: {name}", lambda row: row.cents[index] if row.cents else None)


def _seconds(ms: int | None) -> Value:
    return None if ms is None else rounded(Fraction(ms, 1000), 3)


COLUMNS: Final = (
    _ratio("device_h", "Devices held", "h", 2, HOUR_MS, "held_ms"),
    _ratio("reserved_pct_h", "Compute reserved", "%·h", 2, HOUR_MS, "reserved_pct_ms"),
    _ratio("reserved_gib_h", "Memory reserved", "GiB·h", 2, HOUR_MS * MIB_PER_GIB, "reserved_mib_ms"),
    _ratio("used_h", "Device time used", "h", 3, NS_PER_HOUR, "used_ns"),
    _ratio("burst_h", "of it burst", "h", 3, NS_PER_HOUR, "burst_ns"),
    _ratio("idle_h", "Reserved, not used", "h", 3, NS_PER_HOUR, "idle_ns"),
    Column("grants", "Grants", "", 0, lambda _report, row: row.grants),
    Column("wait_p50_s", "Wait p50", "s", 3, lambda _report, row: _seconds(row.wait_p50_ms)),
    Column("wait_p95_s", "Wait p95", "s", 3, lambda _report, row: _seconds(row.wait_p95_ms)),
    _energy("energy_kwh", "Energy of use", "active_mj"),
    _energy("idle_kwh", "Idle energy", "idle_mj"),
    Column("co2_kg", "CO2", "kg", 3, lambda _report, row: None if row.grams is None else rounded(Fraction(row.grams, 1000), 3)),
    *(_component(index, name) for index, name in enumerate(COMPONENTS)),
    _money("cost", "Cost", lambda row: row.total_cents),
    _money("cost_whole", "Whole GPUs instead", lambda row: row.whole_cents),
)
KEYS: Final = {
    "tenant": "Tenant",
    "project": "Project",
    "model": "Device model",
    "node": "Node",
    "day": "Day",
    "week": "Week",
    "month": "Month",
}


def unit_of(column: Column, report: Report) -> str:
    """Return a column's unit; money is in the currency of the price list."""
    return (report.currency or "") if column.unit == "money" else column.unit


def head_of(column: Column, report: Report) -> str:
    """Return a column's head with its unit."""
    unit = unit_of(column, report)
    return f"{column.title} ({unit})" if unit else column.title


def local(at_ms: int, zone: str) -> datetime:
    """Return a moment in a zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone_of(zone))


def moment(at_ms: int, zone: str) -> str:
    """Return a moment for people: 2026-10-01 00:00 CEST."""
    return f"{local(at_ms, zone):%Y-%m-%d %H:%M %Z}"


def gpus(ms: int, report: Report) -> Decimal:
    """Return how many devices a time is, on average over what is counted."""
    span = report.counted_ms - report.start_ms
    return rounded(Fraction(ms, span), 2) if span > 0 else Decimal("0.00")


def facts_of(report: Report) -> list[tuple[str, str]]:
    """Return what is said about the whole report, as (what, text)."""
    counted = "the whole period" if report.is_complete else f"up to {moment(report.counted_ms, report.zone)}"
    said = [
        (
            "Period",
            f"{report.name}: {moment(report.start_ms, report.zone)} to {moment(report.end_ms, report.zone)} ({report.zone})",
        ),
        ("Counted", counted),
        ("Of", "all tenants" if report.tenant is None else f"tenant {report.tenant}"),
    ]
    if report.frozen_sha256:
        said.append(("Frozen", f"SHA-256 {report.frozen_sha256}"))
    return said + _pooling(report)


def _pooling(report: Report) -> list[tuple[str, str]]:
    whole = gpus(report.total.sums.held_ms, report)
    said = [("Whole GPUs instead", f"one per tenant and device would have been {whole} GPUs on average")]
    if report.tenant is None:
        held, up = gpus(report.devices.held_ms, report), gpus(report.devices.up_ms, report)
        said.append(("Pooled", f"{held} GPUs on average, of {up} that were there: {whole - held} saved"))
    if report.total.whole_cents is not None and report.total.total_cents is not None:
        saved = Decimal(report.total.whole_cents - report.total.total_cents).scaleb(-2)
        said.append(("Saved", f"{saved:,} {report.currency} against whole GPUs at the same rates"))
    if report.tenant is None and report.is_energy_measured:
        unheld = rounded(Fraction(report.devices.unheld_mj, MJ_PER_KWH), 3)
        said.append(("The pool's own energy", f"{unheld} kWh of time nobody used, of the parts nobody held"))
    return said
