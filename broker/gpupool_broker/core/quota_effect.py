"""What a quota would do before it is set: who would be over, who would wait no more, what cannot be kept. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpupool_broker.core.pool import Pool
from gpupool_broker.core.queue import Waiting
from gpupool_broker.core.quotas import SEPARATOR, Quota, path_of

#: Waiting requests that are looked at: enough to see what a quota does to them.
MAX_LOOKED_AT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """An account that would hold more than it may: nothing is taken away, nothing more is given."""

    account: str
    what: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaEffect:
    """What would be different."""

    account: str
    over: list[Over]
    #: Projects that may hold more than their tenant then may.
    projects_above: list[str]
    #: Requests of the account in the queue that the quota keeps out now and would not then, and the other way round.
    freed: int
    blocked: int
    #: What all tenants together would be guaranteed, and what there is, in per cent of a device.
    guaranteed_pct: int
    offered_pct: int
    #: What the account would hold beyond its guarantee, which others may ask back.
    borrowed_pct: int


def effect_of(pool: Pool, account: str, quota: Quota) -> QuotaEffect:
    """Return what would be different if an account had another quota."""
    held = pool.quotas.holds(account)
    over = [Over(account=account, what=what)] if (what := pool.quotas.over(account, quota)) else []
    projects = [name for name in pool.quotas.limits if name.startswith(account + SEPARATOR)]
    guaranteed = {name: one.guaranteed_pct or 0 for name, one in pool.quotas.limits.items() if SEPARATOR not in name}
    if SEPARATOR not in account:
        guaranteed[account] = quota.guaranteed_pct or 0
    freed, blocked = _moved(pool, account, quota)
    return QuotaEffect(
        account=account,
        over=over,
        projects_above=[name for name in projects if _is_above(pool.quotas.of(name).compute_pct, quota.compute_pct)],
        freed=freed,
        blocked=blocked,
        guaranteed_pct=sum(guaranteed.values()),
        offered_pct=100 * sum(len(node.devices) for node in pool.nodes.values() if node.is_up),
        borrowed_pct=max(0, held.compute_pct - (quota.guaranteed_pct or 0)),
    )


def _is_above(project_pct: int | None, tenant_pct: int | None) -> bool:
    return project_pct is not None and tenant_pct is not None and project_pct > tenant_pct


def _moved(pool: Pool, account: str, quota: Quota) -> tuple[int, int]:
    """Return how many waiting requests the quota would let pass, and how many it would keep out, other than now."""
    freed = blocked = 0
    before = pool.quotas.of(account)
    for number, waiting in enumerate(pool.waiting):
        if number == MAX_LOOKED_AT:
            break
        if account in path_of(waiting.want.account):
            now, then = _passes(pool, account, before, waiting), _passes(pool, account, quota, waiting)
            freed += then and not now
            blocked += now and not then
    return freed, blocked


def _passes(pool: Pool, account: str, quota: Quota, waiting: Waiting) -> bool:
    held, ask, count = pool.quotas.holds(account), waiting.want.ask, waiting.want.count
    rows = (
        (quota.compute_pct, held.firm_pct + (ask.compute_pct or 1) * count),
        (quota.memory_mib, held.memory_mib + ask.memory_mib * count),
        (quota.slices, held.slices + count),
    )
    return all(limit is None or wanted <= limit for limit, wanted in rows)
