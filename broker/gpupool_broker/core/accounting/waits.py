"""How long grants were waited for: counts by wait, kept to better than one per cent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Waits below this are kept to the millisecond; longer ones keep their eight leading binary digits.
EXACT_BITS: Final = 8


def bucket_of(waited_ms: int) -> int:
    """Return the wait a wait is counted as: itself, or up to 0.8 % more."""
    shift = max(0, waited_ms.bit_length() - EXACT_BITS)
    return -(-waited_ms >> shift) << shift if shift else max(0, waited_ms)


def percentile(counts: Mapping[int, int], per_cent: int) -> int | None:
    """Return the smallest value that `per_cent` of all are at or below (nearest rank); None of none."""
    total = sum(counts.values())
    rank, seen = -(-total * per_cent // 100), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= rank and seen:
            return value
    return None
