"""What tenants may hold at most, and what they hold.

    QuotaSet ──> limits          granted, resized, ended ──> held          check(tenant, more) ──> raises SliceRefused, or not

A slice counts from its grant to its end, also while it waits for another device: its tenant was promised it. A tenant without
a quota is limited by the pool alone. Sums are kept, not added up, so that a check costs the same however much is held.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpupool_wire.errors import SliceRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """At most so much at a time; None limits nothing."""

    compute_pct: int | None = None
    memory_mib: int | None = None
    slices: int | None = None
    #: How often it was changed: who changes it says which one was seen.
    revision: int = 0


@dataclass(slots=True)
class Held:
    """What a tenant holds: per cent of devices, MiB, slices."""

    compute_pct: int = 0
    memory_mib: int = 0
    slices: int = 0

    def add(self, compute_pct: int, memory_mib: int, slices: int) -> None:
        """Count more, or less."""
        self.compute_pct += compute_pct
        self.memory_mib += memory_mib
        self.slices += slices


#: Dimension, its name for people, its unit.
_DIMENSIONS = (("compute_pct", "compute", " %"), ("memory_mib", "memory", " MiB"), ("slices", "slices", ""))


class Quotas:
    """Limits and holdings by tenant. Changed by facts alone."""

    def __init__(self) -> None:
        self.limits: dict[str, Quota] = {}
        self.held: dict[str, Held] = {}

    def __repr__(self) -> str:
        return f"<Quotas: {len(self.limits)} limits, {len(self.held)} tenants>"

    def count(self, tenant: str, compute_pct: int, memory_mib: int, slices: int) -> None:
        """Count what a tenant holds more, or less; who holds nothing is forgotten."""
        held = self.held.setdefault(tenant, Held())
        held.add(compute_pct, memory_mib, slices)
        if not held.slices:
            del self.held[tenant]

    def check(self, tenant: str, compute_pct: int, memory_mib: int, slices: int) -> None:
        """Raise SliceRefused, with the numbers compared, where so much more would be over the tenant's quota."""
        quota, held = self.limits.get(tenant), self.held.get(tenant, Held())
        if quota is None:
            return
        more = {"compute_pct": compute_pct, "memory_mib": memory_mib, "slices": slices}
        for name, title, unit in _DIMENSIONS:
            limit, has = getattr(quota, name), getattr(held, name)
            if limit is not None and more[name] > 0 and has + more[name] > limit:
                raise SliceRefused(
                    f"tenant {tenant} may hold {limit}{unit} of {title} and holds {has}{unit}; "
                    f"this asks for {more[name]}{unit} more: release something, ask for less, or have an admin raise the quota",
                    tenant=tenant,
                    dimension=name,
                    limit=limit,
                    held=has,
                    asked=more[name],
                )

    def can_ever_hold(self, tenant: str, compute_pct: int, memory_mib: int) -> bool:
        """Whether a slice of that size is within the quota of a tenant that holds nothing."""
        quota = self.limits.get(tenant, Quota())
        asked = ((quota.compute_pct, compute_pct), (quota.memory_mib, memory_mib), (quota.slices, 1))
        return all(limit is None or wanted <= limit for limit, wanted in asked)

    def over(self, tenant: str, quota: Quota) -> list[str]:
        """Return the dimensions in which a tenant would hold more than `quota`, as people read them."""
        held = self.held.get(tenant, Held())
        return [
            f"{title} {getattr(held, name)}{unit} of {getattr(quota, name)}{unit}"
            for name, title, unit in _DIMENSIONS
            if (limit := getattr(quota, name)) is not None and getattr(held, name) > limit
        ]
