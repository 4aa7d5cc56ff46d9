"""Reports that are made by themselves: which are due, and what has become of those that were made."""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import date
from typing import Final

import msgspec

from gpupool_broker.core.accounting.calendar import Period, period_with

EVERY: Final = ("daily", "weekly", "monthly")
#: What failed is tried again after a minute, then after twice as long each time, up to an hour.
FIRST_RETRY_MS: Final = 60_000
LAST_RETRY_MS: Final = 3_600_000


class Schedule(msgspec.Struct, kw_only=True):
    """A report that is made whenever a day, week or month is over."""

    schedule_id: str
    every: str
    zone: str
    by: str
    tenant: str | None
    format: str
    #: Below the broker's folder of reports; None writes none.
    folder: str | None
    mail_to: list[str]
    #: A day of the first period it is made for.
    since: str
    created_ms: int
    created_by: str


class MadeReport(msgspec.Struct, kw_only=True):
    """A report that was made, and what is still to be done with it."""

    report_id: str
    schedule_id: str
    period: str
    zone: str
    by: str
    tenant: str | None
    format: str
    file_name: str
    made_ms: int
    sha256: str
    size: int = 0
    to_folder: str | None = None
    mail_to: list[str] = []
    #: Where it lies, once it does.
    stored_at: str = ""
    mailed_ms: int | None = None
    tries: int = 0
    trouble: str = ""

    @property
    def is_delivered(self) -> bool:
        """Whether nothing is left to be done."""
        return self.is_stored and self.is_mailed

    @property
    def is_stored(self) -> bool:
        """Whether it lies in its folder, or needs none."""
        return self.to_folder is None or bool(self.stored_at)

    @property
    def is_mailed(self) -> bool:
        """Whether it was sent, or has nobody to be sent to."""
        return not self.mail_to or self.mailed_ms is not None


def due(schedule: Schedule, made: Container[str], settled_ms: int) -> Iterator[Period]:
    """Yield the periods that are over and have no report yet, oldest first; those missed while nothing ran too."""
    period = period_with(date.fromisoformat(schedule.since), schedule.every, schedule.zone)
    while period.end_ms <= settled_ms:
        if period.name not in made:
            yield period
        period = period_with(period.end, schedule.every, schedule.zone)


def next_try_ms(tries: int, now_ms: int) -> int:
    """Return when to try again after so many tries in vain."""
    return now_ms + min(LAST_RETRY_MS, FIRST_RETRY_MS << min(tries - 1, 16))
