"""Periods are right to the millisecond, in every zone."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest

from gpupool_broker.core.accounting.calendar import label_of, midnight_ms, period_of
from gpupool_wire.errors import UsageError

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("text", "zone", "hours"),
    [
        ("2026-10", "UTC", 744),
        ("2026-10", "Europe/Berlin", 745),
        ("2026-03", "Europe/Berlin", 743),
        ("2026-10", "Asia/Kolkata", 744),
        ("2026-02", "UTC", 672),
        ("2024-02", "UTC", 696),
        ("2026-10-25", "Europe/Berlin", 25),
        ("2026-W44", "Europe/Berlin", 168),
        ("2026-W43", "Europe/Berlin", 169),
        ("2026-10-05..2026-10-06", "UTC", 48),
        # Midnight itself is skipped in Santiago on this day.
        ("2026-09-06", "America/Santiago", 23),
    ],
)
def test_a_period_has_its_hours(text: str, zone: str, hours: int) -> None:
    period = period_of(text, zone)
    assert period.end_ms - period.start_ms == hours * HOUR_MS


def test_days_of_a_month_join_without_gap() -> None:
    days = [period_of(f"2026-10-{day:02}", "Europe/Berlin") for day in range(1, 32)]
    assert all(one.end_ms == next_.start_ms for one, next_ in pairwise(days))
    assert days[0].start_ms == midnight_ms(date(2026, 9, 30), "UTC") + 22 * HOUR_MS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-13", "is no period"),
        ("october", "is no period"),
        ("2026-W54", "is no period"),
        ("2026-02-30", "is no period"),
        ("2016-10..2026-10", "cover 3683 days"),
        ("2026-10-06..2026-10-05", "cover 0 days"),
        ("1970-01", "before 2000-01-01"),
        ("9999-12", "is no period"),
        ("", "is no period"),
    ],
)
def test_what_is_no_period_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        period_of(text)


def test_an_unknown_zone_is_refused() -> None:
    for zone in ("Mars/Olympus", "../../etc/passwd", ""):
        with pytest.raises(UsageError, match="no time zone"):
            period_of("2026-10", zone)


def test_a_zone_off_the_quarter_hour_is_refused() -> None:
    with pytest.raises(UsageError, match="no whole quarter"):
        midnight_ms(date(1960, 1, 1), "Africa/Monrovia")


def test_days_belong_to_iso_weeks() -> None:
    assert label_of(date(2027, 1, 1), "week") == "2026-W53"
    assert label_of(date(2027, 1, 1), "month") == "2027-01"
