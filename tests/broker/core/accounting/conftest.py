"""A meter, told of one pool hour by hour."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.build import build
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.core.accounting.days import Day
from gpupool_broker.core.accounting.meter import Meter
from gpupool_broker.core.accounting.prices import Tariff
from gpupool_broker.core.accounting.report import Report
from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import Hold, Policy

HOUR_MS = 3_600_000
START_MS = period_of("2026-10").start_ms


class Told:
    """Tells a meter facts at hours since the first of October 2026, UTC."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.tariff = Tariff()
        self.facts: list[f.Fact] = []
        self._days: list[Day] = []

    def tell(self, fact: f.Fact) -> None:
        self.facts.append(fact)
        self.meter.take(fact)

    def at(self, hours: float) -> int:
        return START_MS + int(hours * HOUR_MS)

    def join(self, hours: float = 0, *, node: str = "n", devices: int = 1, model: str = "H", memory_mib: int = 1024) -> None:
        infos = [DeviceInfo(device=f"g{i}", kind="null", model=model, memory_mib=memory_mib) for i in range(devices)]
        self.tell(f.NodeJoined(at_ms=self.at(hours), node=node, door="d", devices=infos))

    def grant(
        self,
        hours: float,
        slice_id: str = "s",
        *,
        tenant: str = "t",
        pct: int = 40,
        mib: int = 512,
        policy: Policy = Policy.FIXED,
        device: str = "g0",
        waited_ms: int = 0,
    ) -> None:
        self.tell(
            f.SliceGranted(
                at_ms=self.at(hours),
                slice_id=slice_id,
                epoch=1,
                request_id=slice_id,
                tenant=tenant,
                node="n",
                device=device,
                compute_pct=pct,
                memory_mib=mib,
                policy=policy,
                hold=Hold.HELD,
                waited_ms=waited_ms,
            )
        )

    def use(self, hours: float, slice_id: str = "s", *, device_s: float, span_s: float = 0) -> None:
        self.tell(
            f.SliceUsed(
                at_ms=self.at(hours),
                slice_id=slice_id,
                device_ns=int(device_s * 1e9),
                throttled_ns=0,
                calls=1,
                span_ms=int(span_s * 1000),
            )
        )

    def power(self, hours: float, *, joules: int, span_s: float, device: str = "g0") -> None:
        fact = f.DevicePowered(at_ms=self.at(hours), node="n", device=device, span_ms=int(span_s * 1000), energy_mj=joules * 1000)
        self.tell(fact)

    def end(self, hours: float, slice_id: str = "s") -> None:
        self.tell(f.SliceEnded(at_ms=self.at(hours), slice_id=slice_id, epoch=2, how="released"))

    def days(self, hours: float) -> list[Day]:
        """Let time pass; return every day's record so far."""
        self.meter.pass_time(self.at(hours))
        self._days += self.meter.days()
        return self._days + self.meter.today()

    def report(self, period: str = "2026-10", *, zone: str = "UTC", until: float = 24 * 40, **options: str) -> Report:
        days = self.days(until)
        return build(days, self.tariff, period_of(period, zone), counted_ms=self.meter.settled_ms, **options)  # type: ignore[arg-type]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def price() -> Callable[..., f.PriceSet]:
    def make(**rates: str) -> f.PriceSet:
        return f.PriceSet(**({"at_ms": 0, "by": "admin", "valid_from": "2026-01-01", "currency": "EUR"} | rates))  # type: ignore[arg-type]

    return make
