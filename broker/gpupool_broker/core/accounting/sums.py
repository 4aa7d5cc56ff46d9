"""Sums of what a tenant held and used: the columns of a tenant's day, added up."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gpupool_broker.core.accounting.grid import NS_PER_MS, NS_PER_PCT_MS


class Sums(msgspec.Struct):
    """The first eight are TENANT_COLUMNS, in their order."""

    held_ms: int = 0
    reserved_pct_ms: int = 0
    reserved_mib_ms: int = 0
    used_ns: int = 0
    burst_ns: int = 0
    late_ns: int = 0
    active_mj: int = 0
    idle_mj: int = 0
    #: What the memory of whole devices would have been, for the time it held a part of them.
    whole_mib_ms: int = 0

    def add(self, columns: Sequence[int], memory_mib: int) -> None:
        """Add a tenant's columns on a device of that much memory."""
        self.held_ms += columns[0]
        self.reserved_pct_ms += columns[1]
        self.reserved_mib_ms += columns[2]
        self.used_ns += columns[3]
        self.burst_ns += columns[4]
        self.late_ns += columns[5]
        self.active_mj += columns[6]
        self.idle_mj += columns[7]
        self.whole_mib_ms += columns[0] * memory_mib

    @property
    def idle_ns(self) -> int:
        """Device time it held and did not use. What it used beyond what it held, burst or late, was not from that."""
        return self.reserved_pct_ms * NS_PER_PCT_MS - (self.used_ns - self.burst_ns - self.late_ns)

    def merge(self, other: Sums) -> None:
        """Add other sums."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_whole(self) -> Sums:
        """Return what it would have been with each device held whole instead of shared."""
        return Sums(
            held_ms=self.held_ms,
            reserved_pct_ms=100 * self.held_ms,
            reserved_mib_ms=self.whole_mib_ms,
            used_ns=self.used_ns,
            late_ns=max(0, self.used_ns - NS_PER_MS * self.held_ms),
            active_mj=self.active_mj,
            idle_mj=self.idle_mj,
            whole_mib_ms=self.whole_mib_ms,
        )
