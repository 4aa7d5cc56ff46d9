"""Who holds much more than it uses.

Looked at: the minutes in which a tenant held something of a device, on the UTC days that begin in the period. Enough is one and
a half times what 95 of 100 minutes used, rounded up to five per cent. Advice is given where that is at most half of what is held,
for a day at least.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from gpupool_broker.core.accounting.days import Day
from gpupool_broker.core.accounting.report import Advice
from gpupool_broker.core.accounting.waits import percentile

STEP_PCT: Final = 5
MIN_MINUTES: Final = 24 * 60
#: The largest of them; a list nobody reads to its end helps nobody.
MAX_ADVICE: Final = 50


@dataclass(slots=True)
class _Use:
    held_ms: int = 0
    pct_ms: int = 0
    minutes: Counter[int] = field(default_factory=Counter)


def right_size(days: Iterable[Day]) -> list[Advice]:
    """Return advice of tenants' days, those who hold most in vain first."""
    uses: dict[tuple[str, str, str], _Use] = defaultdict(_Use)
    for day in days:
        use = uses[day.tenant, day.node, day.device]
        use.held_ms += day.totals[0]
        use.pct_ms += day.totals[1]
        use.minutes.update(day.minutes)
    found = [advice for key, use in sorted(uses.items()) if (advice := _advice(*key, use))]
    found.sort(key=lambda one: -(one.held_pct - one.enough_pct) * one.minutes)
    return found[:MAX_ADVICE]


def enough_for(p95_pct: int) -> int:
    """Return how much of a device is enough for a use."""
    return min(100, max(STEP_PCT, -(-p95_pct * 3 // (2 * STEP_PCT)) * STEP_PCT))


def _advice(tenant: str, node: str, device: str, use: _Use) -> Advice | None:
    minutes, p95 = use.minutes.total(), percentile(use.minutes, 95)
    if p95 is None or minutes < MIN_MINUTES or not use.held_ms:
        return None
    held, enough = use.pct_ms // use.held_ms, enough_for(p95)
    if 2 * enough > held:
        return None
    return Advice(tenant=tenant, node=node, device=device, held_pct=held, p95_pct=p95, enough_pct=enough, minutes=minutes)
