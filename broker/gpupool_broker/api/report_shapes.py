"""What REST takes and gives about reports, prices and schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gpupool_broker.api.shapes import moment
from gpupool_broker.core.accounting.schedules import MadeReport, Schedule
from gpupool_broker.core.facts import CarbonSet, PriceSet

Rate = Annotated[str, Field(max_length=32, description="A decimal number, as text.", examples=["0.0125"])]
Day = Annotated[str, Field(max_length=16, description="YYYY-MM-DD", examples=["2026-10-01"])]
Zone = Annotated[str, Field(max_length=64, examples=["Europe/Berlin"])]
Name = Annotated[str, Field(max_length=512)]
Format = Literal["json", "csv", "xlsx", "pdf"]
Grouping = Literal["tenant", "project", "model", "node", "day", "week", "month"]


class PriceRequest(BaseModel):
    """What devices cost from a day on; without a model, every model that has no price of its own."""

    model_config = ConfigDict(extra="forbid")

    valid_from: Day
    currency: Annotated[str, Field(max_length=8, examples=["EUR"])]
    model: Name = ""
    reserved_pct_hour: Rate = "0"
    memory_gib_hour: Rate = "0"
    used_hour: Rate = "0"
    burst_hour: Rate = "0"
    idle_pct_hour: Rate = "0"
    energy_kwh: Rate = "0"


class PriceShape(PriceRequest):
    """A price, who entered it and when."""

    by: str
    entered_at: datetime


class CarbonRequest(BaseModel):
    """How many grams of CO2 a kilowatt-hour stands for from a day on."""

    model_config = ConfigDict(extra="forbid")

    valid_from: Day
    grams_per_kwh: Rate


class CarbonShape(CarbonRequest):
    """A factor, who entered it and when."""

    by: str
    entered_at: datetime


class FreezeRequest(BaseModel):
    """Close a month in a zone."""

    model_config = ConfigDict(extra="forbid")

    zone: Zone = "UTC"


class FrozenShape(BaseModel):
    """A closed month and the hash of its figures."""

    month: str
    zone: str
    sha256: str


class ScheduleRequest(BaseModel):
    """Make a report whenever a day, week or month is over. `since` is a day of the first; today, where it is not given."""

    model_config = ConfigDict(extra="forbid")

    every: Literal["daily", "weekly", "monthly"]
    format: Format = "pdf"
    by: Grouping = "tenant"
    zone: Zone = "UTC"
    tenant: Name | None = None
    folder: Name | None = None
    mail_to: Annotated[
        list[Annotated[str, Field(max_length=254, pattern=r"^[^@\s,<>\"]+@[^@\s,<>\"]+$")]], Field(max_length=50)
    ] = []
    since: Day | None = None


class ScheduleShape(BaseModel):
    """A schedule."""

    schedule_id: str
    every: str
    format: str
    by: str
    zone: str
    tenant: str | None
    folder: str | None
    mail_to: list[str]
    since: str
    created_at: datetime
    created_by: str


class MadeShape(BaseModel):
    """A report that was made, and what has become of it."""

    report_id: str
    schedule_id: str
    period: str
    zone: str
    by: str
    tenant: str | None
    format: str
    file_name: str
    made_at: datetime
    sha256: str
    size: int
    #: "delivered", or "waiting" with the trouble.
    state: str
    stored_at: str
    mailed_at: datetime | None
    tries: int
    trouble: str


def price_shape(price: PriceSet) -> PriceShape:
    """Return a price as REST shows it."""
    rates = {name: getattr(price, name) for name in PriceRequest.model_fields}
    return PriceShape(**rates, by=price.by, entered_at=moment(price.at_ms))


def carbon_shape(carbon: CarbonSet) -> CarbonShape:
    """Return a factor as REST shows it."""
    return CarbonShape(
        valid_from=carbon.valid_from, grams_per_kwh=carbon.grams_per_kwh, by=carbon.by, entered_at=moment(carbon.at_ms)
    )


def schedule_shape(schedule: Schedule) -> ScheduleShape:
    """Return a schedule as REST shows it."""
    same = {name: getattr(schedule, name) for name in ScheduleShape.model_fields if name != "created_at"}
    return ScheduleShape(**same, created_at=moment(schedule.created_ms))


def made_shape(made: MadeReport) -> MadeShape:
    """Return a report that was made as REST shows it."""
    others = ("made_at", "mailed_at", "state")
    same = {name: getattr(made, name) for name in MadeShape.model_fields if name not in others}
    return MadeShape(
        **same,
        made_at=moment(made.made_ms),
        mailed_at=None if made.mailed_ms is None else moment(made.mailed_ms),
        state="delivered" if made.is_delivered else "waiting",
    )
