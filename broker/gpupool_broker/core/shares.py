"""Whose turn it is among requests of equal priority: fair share with decay.

An account's standing is what it holds now and what it held lately, against its weight:

    standing = (held + average) / weight        average' = (held - average) · ln 2 / HALF_LIFE

so the average forgets half of the past in a half-life. The weight is the guarantee, or 100 % where there is none. Less is served
first. Time is the wall clock of the facts, so that a replay gives the same standings; a clock that goes backwards stands still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Time after which what was held counts half (ms).
HALF_LIFE_MS = 3_600_000
DEFAULT_WEIGHT_PCT = 100


@dataclass(slots=True)
class Average:
    """Compute held on average (per cent), up to a time."""

    held_pct: int = 0
    average_pct: float = 0.0
    at_ms: int = 0

    def at(self, at_ms: int) -> float:
        """Return the average at a time."""
        elapsed = max(0, at_ms - self.at_ms)
        return self.held_pct + (self.average_pct - self.held_pct) * math.exp2(-elapsed / HALF_LIFE_MS)


class Shares:
    """What accounts held lately. Changed by facts alone."""

    def __init__(self) -> None:
        self._averages: dict[str, Average] = {}

    def __repr__(self) -> str:
        return f"<Shares of {len(self._averages)} accounts>"

    def note(self, account: str, held_pct: int, at_ms: int) -> None:
        """Take note of what an account holds from now on."""
        average = self._averages.setdefault(account, Average(at_ms=at_ms))
        average.average_pct = average.at(at_ms)
        average.held_pct, average.at_ms = held_pct, max(average.at_ms, at_ms)

    def standing(self, account: str, weight_pct: int | None, at_ms: int) -> float:
        """Return how much of its due an account has had: less is served first."""
        average = self._averages.get(account)
        if average is None:
            return 0.0
        return (average.held_pct + average.at(at_ms)) / (weight_pct or DEFAULT_WEIGHT_PCT)
