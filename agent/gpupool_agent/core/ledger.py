"""What a slice's memory is used for, to the byte, and by whom.

Rules: every byte is asked for here before the device is asked for it; `used` is the sum of the charges that are open; `used`
never passes `limit`. A refusal changes nothing, and names what was used, asked and allowed, and who holds the most.

    take(nbytes, purpose, name) ──> Charge ──> give(charge)          resize(limit) refuses to go below what is used
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

import msgspec

from gpupool_wire.errors import Conflict, LocalProtocolError, OutOfSliceMemory
from gpupool_wire.units import MIB

#: How many holders a refusal names: enough to see what to close, few enough for one line.
NAMED_HOLDERS = 3


class Purpose(StrEnum):
    """What memory is held for."""

    WEIGHTS = "weights"
    ACTIVATIONS = "activations"
    ARRAYS = "arrays"


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One amount of memory somebody holds. Given back once, to the ledger it came from."""

    charge_id: int
    nbytes: int
    purpose: Purpose
    #: Whose: a model's short hash, a call, an allocator.
    name: str


class Ledger:
    """The memory of one slice. `take`, `give` and `resize` are the only doors to its state; it is not thread-safe by itself."""

    __slots__ = ("_last_id", "_open", "limit_bytes", "peak_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.peak_bytes = 0
        self._last_id = 0
        self._open: dict[int, Charge] = {}

    def __repr__(self) -> str:
        return f"<Ledger, {self.used_bytes} of {self.limit_bytes} bytes used, {len(self._open)} charges>"

    @property
    def free_bytes(self) -> int:
        """What can still be taken."""
        return self.limit_bytes - self.used_bytes

    def take(self, nbytes: int, purpose: Purpose, name: str) -> Charge:
        """Charge `nbytes`; raise OutOfSliceMemory, and charge nothing, where they do not fit."""
        if nbytes < 0:
            raise LocalProtocolError(f"{nbytes} bytes cannot be charged")
        if nbytes > self.limit_bytes - self.used_bytes:
            raise self.refusal(nbytes, f"{purpose} of {name}")
        self._last_id += 1
        charge = Charge(charge_id=self._last_id, nbytes=nbytes, purpose=purpose, name=name)
        self._open[charge.charge_id] = charge
        self.used_bytes += nbytes
        if self.used_bytes > self.peak_bytes:
            self.peak_bytes = self.used_bytes
        return charge

    def give(self, charge: Charge) -> None:
        """End a charge; raise LocalProtocolError for one that is not open here (given twice)."""
        if self._open.pop(charge.charge_id, None) is None:
            raise LocalProtocolError(f"charge {charge.charge_id} of {charge.nbytes} bytes for {charge.name} is not open")
        self.used_bytes -= charge.nbytes

    def resize(self, limit_bytes: int) -> None:
        """Set another limit; raise Conflict, and keep the old one, where more than that is in use."""
        if limit_bytes < self.used_bytes:
            raise Conflict(
                f"the slice uses {mib(self.used_bytes)} and cannot shrink to {mib(limit_bytes)}: {self.held_by()}",
                used_bytes=self.used_bytes,
                asked_bytes=limit_bytes,
                limit_bytes=self.limit_bytes,
            )
        self.limit_bytes = limit_bytes

    def by_purpose(self) -> dict[Purpose, int]:
        """Return the bytes held for each purpose."""
        totals = dict.fromkeys(Purpose, 0)
        for charge in self._open.values():
            totals[charge.purpose] += charge.nbytes
        return totals

    def held_by(self) -> str:
        """Return, as one line, who holds the most."""
        holders: Counter[tuple[Purpose, str]] = Counter()
        for charge in self._open.values():
            holders[charge.purpose, charge.name] += charge.nbytes
        largest = holders.most_common(NAMED_HOLDERS)
        line = ", ".join(f"{mib(nbytes)} for {purpose} of {name}" for (purpose, name), nbytes in largest if nbytes)
        if not line:
            return "nothing is held"
        more = len(holders) - len(largest)
        return f"held are {line}" + (f" and {more} more" if more > 0 else "")

    def refusal(self, nbytes: int, what: str) -> OutOfSliceMemory:
        """Return the error for `nbytes` that do not fit, whoever found out."""
        return OutOfSliceMemory(
            f"{what} asked for {mib(nbytes)}, but {mib(self.used_bytes)} of the slice's {mib(self.limit_bytes)} are used "
            f"({self.held_by()}): ask for a larger slice, or close a session",
            used_bytes=self.used_bytes,
            asked_bytes=nbytes,
            limit_bytes=self.limit_bytes,
        )


def mib(nbytes: int) -> str:
    """Return a short text of an amount: exact bytes below one MiB, else MiB with one digit."""
    return f"{nbytes} bytes" if nbytes < MIB else f"{nbytes / MIB:.1f} MiB"
