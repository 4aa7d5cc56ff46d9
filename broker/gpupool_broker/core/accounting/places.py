"""A device as the meter follows it: who holds what of it now, its open quarters, and the day that is being written."""

from __future__ import annotations

import msgspec

from gpupool_broker.core.accounting.days import DEVICE_COLUMNS, TENANT_COLUMNS, Day, pack
from gpupool_broker.core.accounting.grid import DAY_QUARTERS, MINUTE_MS, NS_PER_MS, QUARTER_MS, spread
from gpupool_broker.core.accounting.quarters import DeviceQuarter, TenantQuarter
from gpupool_broker.core.accounting.waits import bucket_of
from gpupool_wire.units import Policy


class Holding(msgspec.Struct):
    """A slice on a device."""

    tenant: str
    policy: Policy
    compute_pct: int
    memory_mib: int


class TenantDay(msgspec.Struct):
    """A tenant's day on a device, as far as it is settled."""

    cells: list[list[int]]
    #: Whole per cent of the device → minutes.
    minutes: dict[int, int] = {}
    #: Quarter of the day → wait in ms → grants.
    waits: dict[int, dict[int, int]] = {}


class DayBook(msgspec.Struct):
    """A device's day, as far as it is settled."""

    device: list[list[int]]
    tenants: dict[str, TenantDay] = {}
    #: Of grants in quarters not settled yet: (quarter since 1970, tenant, wait).
    fresh_waits: list[tuple[int, str, int]] = []

    @classmethod
    def empty(cls) -> DayBook:
        """Return the book of a new day."""
        return cls(device=_blank(len(DEVICE_COLUMNS)), tenants={}, fresh_waits=[])

    def next(self) -> DayBook:
        """Return the book of the day after."""
        return DayBook(device=_blank(len(DEVICE_COLUMNS)), tenants={}, fresh_waits=self.fresh_waits)

    def wait(self, tenant: str, at_ms: int, waited_ms: int) -> None:
        """Note how long a grant was waited for."""
        self.fresh_waits.append((at_ms // QUARTER_MS, tenant, bucket_of(waited_ms)))

    def of(self, tenant: str) -> TenantDay:
        """Return a tenant's day, which may be new."""
        day = self.tenants.get(tenant)
        if day is None:
            day = self.tenants[tenant] = TenantDay(cells=_blank(len(TENANT_COLUMNS)), minutes={}, waits={})
        return day

    def settle(self, quarter: int, at: int, cell: DeviceQuarter) -> None:
        """Write a quarter down at its place in the day."""
        device, tenants = cell.settled()
        for column, value in zip(self.device, device, strict=True):
            column[at] = value
        for tenant, values in tenants.items():
            day = self.of(tenant)
            for column, value in zip(day.cells, values, strict=True):
                column[at] = value
            _count_minutes(day.minutes, cell.tenants[tenant])
        for came, tenant, wait in self.fresh_waits:
            if came == quarter:
                waits = self.of(tenant).waits.setdefault(at, {})
                waits[wait] = waits.get(wait, 0) + 1
        self.fresh_waits = [fresh for fresh in self.fresh_waits if fresh[0] > quarter]

    def records(self, day: int, place: Place) -> list[Day]:
        """Return the day's records, the device's own first; none where nothing happened."""
        records = []
        if any(map(any, self.device)):
            records.append(_record(day, place, "", self.device))
        for tenant, book in sorted(self.tenants.items()):
            record = _record(day, place, tenant, book.cells)
            record.minutes = dict(sorted(book.minutes.items()))
            record.waits = [(at, wait, n) for at, waits in sorted(book.waits.items()) for wait, n in sorted(waits.items())]
            records.append(record)
        return records


class Place(msgspec.Struct):
    """One device."""

    node: str
    device: str
    #: Counted up to here.
    at_ms: int
    book: DayBook
    model: str = ""
    memory_mib: int = 0
    is_up: bool = False
    holdings: dict[str, Holding] = {}
    quarters: dict[int, DeviceQuarter] = {}

    @classmethod
    def new(cls, node: str, device: str, at_ms: int) -> Place:
        """Return a device nobody has told of yet."""
        return cls(node=node, device=device, at_ms=at_ms, book=DayBook.empty(), holdings={}, quarters={})

    def quarter(self, number: int) -> DeviceQuarter:
        """Return an open quarter, which may be new."""
        cell = self.quarters.get(number)
        if cell is None:
            cell = self.quarters[number] = DeviceQuarter(tenants={})
        return cell

    def put(self, slice_id: str, tenant: str, policy: Policy, compute_pct: int, memory_mib: int, at_ms: int) -> None:
        """Have a slice hold so much from now on."""
        self.account(at_ms)
        self.holdings[slice_id] = Holding(tenant, policy, compute_pct, memory_mib)

    def remove(self, slice_id: str, at_ms: int) -> None:
        """Have a slice hold nothing from now on."""
        self.account(at_ms)
        self.holdings.pop(slice_id, None)

    def account(self, to_ms: int) -> None:
        """Count what was up and held since the last time, before that changes."""
        if (self.is_up or self.holdings) and to_ms > self.at_ms:
            for number, span_ms in spread(to_ms - self.at_ms, self.at_ms, to_ms, QUARTER_MS):
                cell = self.quarter(number)
                cell.up_ms += span_ms * self.is_up
                cell.held_ms += span_ms * bool(self.holdings)
                for holding in self.holdings.values():
                    part = cell.of(holding.tenant)
                    part.hold(holding.policy, span_ms * holding.compute_pct, span_ms * holding.memory_mib)
                for tenant in {holding.tenant for holding in self.holdings.values()}:
                    cell.of(tenant).held_ms += span_ms
        self.at_ms = max(self.at_ms, to_ms)

    def settle(self, quarter: int, at: int) -> None:
        """Write a quarter into the day. Nothing is left open before it."""
        cell = self.quarters.pop(quarter, None)
        if cell is not None or self.book.fresh_waits:
            self.book.settle(quarter, at, cell or DeviceQuarter(tenants={}))


def _count_minutes(minutes: dict[int, int], part: TenantQuarter) -> None:
    """Count the minutes a tenant held by the whole per cent (rounded up, 100 at most) of the device it used in them."""
    for used_ns in part.minutes_ns.values():
        pct = min(100, -(-100 * used_ns // (MINUTE_MS * NS_PER_MS)))
        minutes[pct] = minutes.get(pct, 0) + 1
    quiet = (part.held_ms + MINUTE_MS // 2) // MINUTE_MS - len(part.minutes_ns)
    if quiet > 0:
        minutes[0] = minutes.get(0, 0) + quiet


def _record(day: int, place: Place, tenant: str, cells: list[list[int]]) -> Day:
    return Day(
        day=day,
        node=place.node,
        device=place.device,
        tenant=tenant,
        model=place.model,
        memory_mib=place.memory_mib,
        totals=[sum(column) for column in cells],
        cells=pack(cells),
    )


def _blank(columns: int) -> list[list[int]]:
    return [[0] * DAY_QUARTERS for _ in range(columns)]
