"""A device's open quarter hours: what happened in them, until they are settled into its day.

Settling shares out what only a whole quarter hour can tell: what of the use was beyond what was held, whose energy it was.
"""

from __future__ import annotations

import msgspec

from gpupool_broker.core.accounting.grid import NS_PER_MS, NS_PER_PCT_MS, share_out
from gpupool_wire.units import Policy


class TenantQuarter(msgspec.Struct):
    """What one tenant did with a device in a quarter hour. What slices of one policy held and used counts together."""

    held_ms: int = 0
    mib_ms: int = 0
    fixed_pct_ms: int = 0
    burst_pct_ms: int = 0
    fixed_ns: int = 0
    burst_ns: int = 0
    #: Minute (since 1970) → device time used in it.
    minutes_ns: dict[int, int] = {}

    def hold(self, policy: Policy, pct_ms: int, mib_ms: int) -> None:
        """Add what a slice held."""
        self.mib_ms += mib_ms
        if policy is Policy.BURST:
            self.burst_pct_ms += pct_ms
        else:
            self.fixed_pct_ms += pct_ms

    def use(self, policy: Policy, device_ns: int) -> None:
        """Add what a slice used."""
        if policy is Policy.BURST:
            self.burst_ns += device_ns
        else:
            self.fixed_ns += device_ns

    @property
    def pct_ms(self) -> int:
        """What it held of the compute, whatever the policy."""
        return self.fixed_pct_ms + self.burst_pct_ms

    @property
    def used_ns(self) -> int:
        """What it used, whatever the policy."""
        return self.fixed_ns + self.burst_ns

    @property
    def beyond_ns(self) -> int:
        """What its burst slices used beyond what they held."""
        return max(0, self.burst_ns - self.burst_pct_ms * NS_PER_PCT_MS)

    @property
    def late_ns(self) -> int:
        """What its fixed slices used beyond what they held in this quarter."""
        return max(0, self.fixed_ns - self.fixed_pct_ms * NS_PER_PCT_MS)


class DeviceQuarter(msgspec.Struct):
    """What happened on one device in a quarter hour."""

    up_ms: int = 0
    held_ms: int = 0
    energy_mj: int = 0
    powered_ms: int = 0
    tenants: dict[str, TenantQuarter] = {}

    def of(self, tenant: str) -> TenantQuarter:
        """Return a tenant's part, which may be new."""
        part = self.tenants.get(tenant)
        if part is None:
            part = self.tenants[tenant] = TenantQuarter(minutes_ns={})
        return part

    def settled(self) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
        """Return the values of DEVICE_COLUMNS, and by tenant those of TENANT_COLUMNS.

        Energy: the measured energy is shared out by device time; what falls on time nobody used is idle energy, and is shared out
        by what was held of the compute. What nobody held stays with the pool.
        """
        parts = sorted(self.tenants.items())
        used = [part.used_ns for _, part in parts]
        nobody_used = max(0, self.up_ms * NS_PER_MS - sum(used))
        *active, idle = share_out(self.energy_mj, [*used, nobody_used])
        held = [part.pct_ms for _, part in parts]
        nobody_held = max(0, 100 * self.up_ms - sum(held))
        *idles, unheld = share_out(idle, [*held, nobody_held])
        tenants: dict[str, tuple[int, ...]] = {
            tenant: (
                part.held_ms,
                part.pct_ms,
                part.mib_ms,
                part.used_ns,
                part.beyond_ns,
                part.late_ns,
                active_mj,
                idle_mj,
            )
            for (tenant, part), active_mj, idle_mj in zip(parts, active, idles, strict=True)
        }
        return (self.up_ms, self.held_ms, self.energy_mj, unheld, self.powered_ms), tenants
