"""Months, weeks and days in a zone, to the millisecond.

A local day begins at midnight of the zone, or where a change of the clock skips midnight, at the first moment of the day. A day
with a change of the clock has 23 or 25 hours, or what the zone decrees.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gpupool_broker.core.accounting.grid import QUARTER_MS
from gpupool_wire.errors import UsageError

#: A report covers at most this; ten years of months are ten years of reports.
MAX_DAYS: Final = 366
EARLIEST: Final = date(2000, 1, 1)
_PERIOD: Final = re.compile(
    r"(?P<year>[0-9]{4})-(?:(?P<month>0[1-9]|1[0-2])|W(?P<week>[0-5][0-9]))(?:-(?P<day>[0-3][0-9]))?", re.ASCII
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """A span of whole local days: [start_ms, end_ms)."""

    name: str
    zone: str
    first: date
    #: The day after the last.
    end: date

    @property
    def start_ms(self) -> int:
        """Its beginning, ms since 1970."""
        return midnight_ms(self.first, self.zone)

    @property
    def end_ms(self) -> int:
        """Its end, ms since 1970."""
        return midnight_ms(self.end, self.zone)


def zone_of(name: str) -> ZoneInfo:
    """Return a zone; raise UsageError where there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"there is no time zone {name[:64]!r}: name one such as UTC or Europe/Berlin") from error


def midnight_ms(day: date, zone: str) -> int:
    """Return the first moment of a local day, ms since 1970."""
    # Where the clock skips midnight, this is the moment of the change; where midnight comes twice, the first.
    at = datetime(day.year, day.month, day.day, tzinfo=zone_of(zone)).astimezone(UTC)
    ms = int(at.timestamp()) * 1000
    if ms % QUARTER_MS:
        raise UsageError(f"{zone} was no whole quarter of an hour off UTC on {day}: choose another zone")
    return ms


def period_of(text: str, zone: str = "UTC") -> Period:
    """Return the period a text names: a month 2026-10, an ISO week 2026-W41, a day 2026-10-05, or days 2026-10-05..2026-10-11.

    Raises UsageError where it names none, begins before EARLIEST, or is longer than MAX_DAYS.
    """
    zone_of(zone)
    first_text, _, last_text = text.partition("..")
    first, end = _days_of(first_text, text)
    if last_text:
        end = _days_of(last_text, text)[1]
    if first < EARLIEST:
        raise UsageError(f"a report of {text} would begin before {EARLIEST}, and there was no pool")
    if not 0 < (end - first).days <= MAX_DAYS:
        raise UsageError(f"a report of {text} would cover {(end - first).days} days: from one to {MAX_DAYS} can be had at once")
    return Period(name=text, zone=zone, first=first, end=end)


def _days_of(text: str, whole: str) -> tuple[date, date]:
    no_period = UsageError(
        f"{whole[:64]!r} is no period: name a month (2026-10), a week (2026-W41), a day (2026-10-05) or days (A..B)"
    )
    found = _PERIOD.fullmatch(text)
    if not found or (found["week"] and found["day"]):
        raise no_period
    try:
        year = int(found["year"])
        if found["week"]:
            first = date.fromisocalendar(year, int(found["week"]), 1)
            return first, first + timedelta(days=7)
        if found["day"]:
            first = date(year, int(found["month"]), int(found["day"]))
            return first, first + timedelta(days=1)
        first = date(year, int(found["month"]), 1)
        return first, _month_after(first)
    except (ValueError, OverflowError):
        raise no_period from None


def _month_after(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def period_with(day: date, every: str, zone: str) -> Period:
    """Return the day, ISO week or month ("daily", "weekly", "monthly") that has a day in it."""
    return period_of(label_of(day, {"daily": "day", "weekly": "week", "monthly": "month"}[every]), zone)


def day_at(at_ms: int, zone: str) -> date:
    """Return the local day of a moment."""
    return datetime.fromtimestamp(at_ms / 1000, zone_of(zone)).date()


def is_edge_of_month(number: int) -> bool:
    """Whether a UTC day, by its number since 1970, is the first or the last of its month: there months of all zones meet."""
    day = date(1970, 1, 1) + timedelta(days=number)
    return day.day == 1 or (day + timedelta(days=1)).day == 1


def label_of(day: date, by: str) -> str:
    """Return the day, ISO week or month a day belongs to."""
    if by == "day":
        return day.isoformat()
    if by == "week":
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02}"
    return f"{day:%Y-%m}"
