"""The grid time is counted on: quarters of an hour since 1970 (UTC).

A quarter is the finest step in which today's time zones differ from UTC, so a local day is a whole number of them in every zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

QUARTER_MS: Final = 900_000
DAY_QUARTERS: Final = 96
DAY_MS: Final = QUARTER_MS * DAY_QUARTERS
MINUTE_MS: Final = 60_000
NS_PER_MS: Final = 1_000_000
#: One per-cent-millisecond of a device, in nanoseconds of its time.
NS_PER_PCT_MS: Final = NS_PER_MS // 100


def spread(amount: int, start_ms: int, end_ms: int, step_ms: int) -> Iterator[tuple[int, int]]:
    """Yield (step number, part) of an amount that came evenly over [start, end); the parts are whole and add up to it.

    A span without length gives all of it to the step in which it lies.
    """
    if end_ms <= start_ms:
        yield start_ms // step_ms, amount
        return
    given, span = 0, end_ms - start_ms
    for step in range(start_ms // step_ms, -(-end_ms // step_ms)):
        upto = min(end_ms, (step + 1) * step_ms) - start_ms
        part = amount * upto // span - given
        given += part
        yield step, part


def share_out(amount: int, weights: Sequence[int]) -> list[int]:
    """Return whole parts of an amount in proportion to weights (>= 0) that add up to it: the largest-remainder method.

    Equal remainders go to the earlier. Where all weights are 0, the last gets everything: callers put the pool's own part there.
    """
    total = sum(weights)
    if not total:
        return [0] * (len(weights) - 1) + [amount]
    parts = [amount * weight // total for weight in weights]
    left = amount - sum(parts)
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % total), i))
    for i in by_remainder[:left]:
        parts[i] += 1
    return parts
