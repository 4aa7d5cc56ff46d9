"""One UTC day of one tenant on one device, or of the device itself: what the meter makes and the store keeps.

A record has its day's totals, for reports whose days are the same, and the 96 quarter hours they are made of, for those of other
zones. Both are columns of integers; their names are the units.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Final

import msgspec

from gpupool_broker.core.accounting.grid import DAY_QUARTERS

#: Of a tenant on a device.
#: held_ms: time in which it held anything of the device · reserved_pct_ms, reserved_mib_ms: what it held, times how long ·
#: used_ns: device time it used · burst_ns: the part of that beyond what its burst slices held · late_ns: the part beyond what its
#: fixed slices held, which they were owed from before · active_mj: energy of the time it used · idle_mj: its part of the energy
#: of the time nobody used.
TENANT_COLUMNS: Final = (
    "held_ms",
    "reserved_pct_ms",
    "reserved_mib_ms",
    "used_ns",
    "burst_ns",
    "late_ns",
    "active_mj",
    "idle_mj",
)
#: Of a device itself (tenant ""). up_ms: its node was there · held_ms: somebody held something · energy_mj: measured ·
#: unheld_mj: the part of that which nobody held · powered_ms: time in which energy was measured.
DEVICE_COLUMNS: Final = ("up_ms", "held_ms", "energy_mj", "unheld_mj", "powered_ms")

#: Bytes of a number.
_WIDTH: Final = 8


class Day(msgspec.Struct, kw_only=True, array_like=True):
    """A day's record. `tenant` is "" for the device itself."""

    #: Days since 1970 (UTC).
    day: int
    node: str
    device: str
    tenant: str
    model: str
    memory_mib: int
    #: In the order of `columns`.
    totals: list[int]
    #: The quarter hours, packed; None once they are past their retention.
    cells: bytes | None = None
    #: Whole per cent of the device a minute used → how many minutes held.
    minutes: dict[int, int] = {}
    #: (quarter of the day, wait in ms, how many grants waited so long).
    waits: list[tuple[int, int, int]] = []

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the totals."""
        return TENANT_COLUMNS if self.tenant else DEVICE_COLUMNS

    def between(self, first: int, last: int) -> list[int]:
        """Return the sums of the quarters first..last (exclusive) of the day, by column."""
        return self.parts([(first, last)])[0]

    def parts(self, bounds: Sequence[tuple[int, int]]) -> list[list[int]]:
        """Return the sums of several stretches of quarters (first, last exclusive), by column.

        Raises ValueError where only the whole day is known any more.
        """
        if bounds == [(0, DAY_QUARTERS)]:
            return [self.totals]
        if self.cells is None:
            raise ValueError(f"the quarter hours of day {self.day} are past their retention")
        cells = unpack(self.cells)
        return [self._sums(cells, first, last) for first, last in bounds]

    def _sums(self, cells: array[int], first: int, last: int) -> list[int]:
        starts = range(0, len(cells), DAY_QUARTERS)
        if 2 * (last - first) <= DAY_QUARTERS:
            return [sum(cells[at + first : at + last]) for at in starts]
        # What is not asked for is less to add up.
        others = (sum(cells[at : at + first]) + sum(cells[at + last : at + DAY_QUARTERS]) for at in starts)
        return [total - other for total, other in zip(self.totals, others, strict=True)]


def pack(columns: list[list[int]]) -> bytes:
    """Return columns of DAY_QUARTERS integers (each within 64 bits) as few bytes.

    The first byte of every number comes first, then the second of every number, and so on: what is alike lies together.
    """
    numbers = array("q", chain.from_iterable(columns)).tobytes()
    return zlib.compress(b"".join(numbers[byte::_WIDTH] for byte in range(_WIDTH)), 6)


def unpack(packed: bytes) -> array[int]:
    """Return the columns that `pack` packed, one after the other."""
    planes = zlib.decompress(packed)
    count = len(planes) // _WIDTH
    numbers = bytearray(len(planes))
    for byte in range(_WIDTH):
        numbers[byte::_WIDTH] = planes[byte * count : (byte + 1) * count]
    return array("q", bytes(numbers))
