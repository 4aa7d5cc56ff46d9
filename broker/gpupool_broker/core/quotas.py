"""What accounts may hold at most, what they are guaranteed, and what they hold.

    QuotaSet ──> limits          granted, resized, paused, ended ──> held          check(account, more) ──> SliceRefused, or not

An account is a tenant ("acme") or a project of one ("acme/ocr"); what a project holds, its tenant holds too, and both limits
count. A limit is never passed. A guarantee can be had at any time: what an account holds beyond its own is borrowed, and is taken
back when somebody asks for what is guaranteed to them. Without a guarantee all is borrowed; without a limit only the pool limits.

A slice counts from its grant to its end, also while it waits for another device: its tenant was promised it. A paused one counts
its memory alone. What elastic slices hold above their least (`surplus_pct`) counts against the limit, but never stands in the way
of another request of the same account: it is taken back first. Sums are kept: a check costs the same however much is held.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpupool_wire.errors import NotAuthorized, SliceRefused
from gpupool_wire.units import PRIORITY_USUAL

#: Between a tenant and its project in the name of an account.
SEPARATOR = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """At most so much at a time, and at least so much when asked for; None limits, and guarantees, nothing."""

    compute_pct: int | None = None
    memory_mib: int | None = None
    slices: int | None = None
    #: How often it was changed: who changes it says which one was seen.
    revision: int = 0
    guaranteed_pct: int | None = None
    guaranteed_mib: int | None = None
    #: The highest priority its requests may have; None leaves the usual one.
    max_priority: int | None = None


@dataclass(slots=True)
class Held:
    """What an account holds: per cent of devices, MiB, slices."""

    compute_pct: int = 0
    memory_mib: int = 0
    slices: int = 0
    #: Of the compute: what elastic slices have above their least.
    surplus_pct: int = 0

    def add(self, compute_pct: int, memory_mib: int, slices: int, surplus_pct: int) -> None:
        """Count more, or less."""
        self.compute_pct += compute_pct
        self.memory_mib += memory_mib
        self.slices += slices
        self.surplus_pct += surplus_pct

    @property
    def firm_pct(self) -> int:
        """Compute without what is taken back as soon as anybody asks."""
        return self.compute_pct - self.surplus_pct


_NO_QUOTA, _NOTHING = Quota(), Held()
#: Dimension, its name for people, its unit.
_DIMENSIONS = (("compute_pct", "compute", " %"), ("memory_mib", "memory", " MiB"), ("slices", "slices", ""))


def path_of(account: str) -> tuple[str, ...]:
    """Return the accounts in which something of this one counts: its tenant, and itself."""
    tenant, separator, _ = account.partition(SEPARATOR)
    return (tenant, account) if separator else (account,)


class Quotas:
    """Limits, guarantees and holdings by account. Changed by facts alone."""

    def __init__(self) -> None:
        self.limits: dict[str, Quota] = {}
        self.held: dict[str, Held] = {}

    def __repr__(self) -> str:
        return f"<Quotas: {len(self.limits)} limits, {len(self.held)} accounts>"

    def of(self, account: str) -> Quota:
        """Return an account's quota."""
        return self.limits.get(account, _NO_QUOTA)

    def holds(self, account: str) -> Held:
        """Return what an account holds; not to be changed."""
        return self.held.get(account, _NOTHING)

    def count(self, account: str, compute_pct: int, memory_mib: int, slices: int, surplus_pct: int = 0) -> None:
        """Count what an account and its tenant hold more, or less; who holds nothing is forgotten."""
        for name in path_of(account):
            held = self.held.setdefault(name, Held())
            held.add(compute_pct, memory_mib, slices, surplus_pct)
            if not held.slices:
                del self.held[name]

    # ── limits ──────

    def check(self, account: str, compute_pct: int, memory_mib: int, slices: int) -> None:
        """Raise SliceRefused, with the numbers compared, where so much more would be over a limit."""
        more = {"compute_pct": compute_pct, "memory_mib": memory_mib, "slices": slices}
        for name in path_of(account):
            quota, held = self.of(name), self.holds(name)
            for dimension, title, unit in _DIMENSIONS:
                limit, has = getattr(quota, dimension), getattr(held, dimension)
                has -= held.surplus_pct if dimension == "compute_pct" else 0
                if limit is not None and more[dimension] > 0 and has + more[dimension] > limit:
                    raise _over(name, dimension, f" of {title}", unit, limit, has, more[dimension])

    def overshoot_pct(self, name: str, compute_pct: int) -> int:
        """Return by how much so much more compute would pass the limit of one account if its surplus stayed."""
        limit = self.of(name).compute_pct
        return 0 if limit is None else max(0, self.holds(name).compute_pct + compute_pct - limit)

    def spare_pct(self, account: str) -> int | None:
        """Return how much more compute an account may hold; None where nothing limits it."""
        spare = (
            limit - self.holds(name).compute_pct for name in path_of(account) if (limit := self.of(name).compute_pct) is not None
        )
        return min((max(0, room) for room in spare), default=None)

    def can_ever_hold(self, account: str, compute_pct: int, memory_mib: int, slices: int = 1) -> bool:
        """Whether so much is within the quota of an account that holds nothing."""
        quotas = [self.of(name) for name in path_of(account)]
        asked = ((q.compute_pct, compute_pct) for q in quotas), ((q.memory_mib, memory_mib) for q in quotas)
        slots = ((q.slices, slices) for q in quotas)
        return all(limit is None or wanted <= limit for rows in (*asked, slots) for limit, wanted in rows)

    def over(self, account: str, quota: Quota) -> list[str]:
        """Return the dimensions in which an account would hold more than `quota`, as people read them."""
        held = self.holds(account)
        return [
            f"{title} {getattr(held, name)}{unit} of {getattr(quota, name)}{unit}"
            for name, title, unit in _DIMENSIONS
            if (limit := getattr(quota, name)) is not None and getattr(held, name) > limit
        ]

    def check_priority(self, account: str, priority: int) -> None:
        """Raise NotAuthorized where an account's requests may not have that priority."""
        allowed = [limit for name in path_of(account) if (limit := self.of(name).max_priority) is not None]
        highest = min(allowed, default=PRIORITY_USUAL)
        if priority > highest:
            raise NotAuthorized(
                f"{account} may ask with a priority of up to {highest}, not {priority}: "
                f"an admin raises that with `gpupool quotas set {account} --max-priority {priority}`",
                priority=priority,
                max_priority=highest,
            )

    # ── guarantees ──────

    def is_within_guarantee(self, account: str, compute_pct: int = 0, memory_mib: int = 0) -> bool:
        """Whether an account that holds so much more would still be within what is guaranteed to it."""
        quota, held = self.of(account), self.holds(account)
        rows = (quota.guaranteed_pct, held.firm_pct + compute_pct), (quota.guaranteed_mib, held.memory_mib + memory_mib)
        given = [(guaranteed, holds) for guaranteed, holds in rows if guaranteed is not None]
        return bool(given) and all(holds <= guaranteed for guaranteed, holds in given)

    def borrowed_pct(self, account: str) -> int:
        """Return how much compute an account holds beyond its guarantee."""
        return max(0, self.holds(account).compute_pct - (self.of(account).guaranteed_pct or 0))


def _over(account: str, dimension: str, title: str, unit: str, limit: int, has: int, asked: int) -> SliceRefused:
    kind = "project" if SEPARATOR in account else "tenant"
    return SliceRefused(
        f"{kind} {account} may hold {limit}{unit}{title} and holds {has}{unit}; "
        f"this asks for {asked}{unit} more: release something, ask for less, or have an admin raise the quota",
        tenant=account,
        dimension=dimension,
        limit=limit,
        held=has,
        asked=asked,
    )
