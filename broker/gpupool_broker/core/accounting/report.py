"""A report as it is made: rows of exact integers, and what can be said about them."""

from __future__ import annotations

import hashlib

import msgspec

from gpupool_broker.core.accounting.sums import Sums

GROUPINGS = ("tenant", "project", "model", "node", "day", "week", "month")


class Row(msgspec.Struct, kw_only=True):
    """One line of the report, or its total."""

    key: str
    sums: Sums
    #: In cents, in the order of prices.COMPONENTS; empty while no price is set.
    cents: list[int] = []
    #: What whole devices would have cost, in cents.
    whole_cents: int | None = None
    #: Grams of CO2; None without a factor, or without measured energy.
    grams: int | None = None
    grants: int = 0
    wait_p50_ms: int | None = None
    wait_p95_ms: int | None = None

    @property
    def total_cents(self) -> int | None:
        """The amount of the line; None while no price is set."""
        return sum(self.cents) if self.cents else None


class Devices(msgspec.Struct, kw_only=True):
    """What the devices themselves did, whoever held them."""

    up_ms: int = 0
    held_ms: int = 0
    energy_mj: int = 0
    #: Energy of time nobody used, of the part nobody held: the pool's own.
    unheld_mj: int = 0
    powered_ms: int = 0
    count: int = 0


class Advice(msgspec.Struct, kw_only=True):
    """A tenant that holds much more of a device than it uses."""

    tenant: str
    node: str
    device: str
    #: Mean of what it held while it held something, in whole per cent.
    held_pct: int
    #: In 95 of 100 minutes it used no more than this.
    p95_pct: int
    enough_pct: int
    minutes: int

    def __str__(self) -> str:
        days = self.minutes / 1440
        return (
            f"{self.tenant} held {self.held_pct} % of {self.node}/{self.device}, used {self.p95_pct} % at p95 "
            f"for {days:.1f} days: {self.enough_pct} % would do"
        )


class Adjustment(msgspec.Struct, kw_only=True):
    """What a tenant's bill would be now, less what it was when the month was frozen."""

    key: str
    frozen_cents: int
    now_cents: int

    @property
    def cents(self) -> int:
        """What is to be added; negative where something is given back."""
        return self.now_cents - self.frozen_cents


class Report(msgspec.Struct, kw_only=True):
    """A report. Equal input gives equal reports, to the last unit."""

    name: str
    zone: str
    start_ms: int
    end_ms: int
    #: Counted up to here: the end, or for a period that is not over, the last quarter hour settled.
    counted_ms: int
    by: str
    tenant: str | None
    rows: list[Row]
    total: Row
    devices: Devices
    currency: str | None = None
    advice: list[Advice] = []
    notes: list[str] = []
    #: Of a frozen month: the hash it was frozen under, and what has changed since.
    frozen_sha256: str | None = None
    adjustments: list[Adjustment] = []

    @property
    def is_complete(self) -> bool:
        """Whether the whole period is counted."""
        return self.counted_ms >= self.end_ms

    @property
    def is_energy_measured(self) -> bool:
        """Whether any device told its energy."""
        return self.devices.powered_ms > 0

    def sha256(self) -> str:
        """Return the hash of everything in the report."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def figures_sha256(self) -> str:
        """Return the hash of all but the advice: of what the journal gives again, also where use was folded."""
        return msgspec.structs.replace(self, advice=[]).sha256()
