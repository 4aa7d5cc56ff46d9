"""Amounts rounded so that they add up.

A tenant's bill is its exact amounts added up, and rounded once: half a cent and more up. Its parts are the exact ones rounded
down, and the cents still missing go to those with the largest remainders (equal ones: to the earlier). So every sum of parts, by
whatever they are grouped, is to the cent what the bills add up to.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor


def half_up(amount: Fraction) -> int:
    """Return the whole number nearest to an amount, the upper one of two."""
    return floor(amount + Fraction(1, 2))


def parts_of(amounts: Sequence[Fraction]) -> list[int]:
    """Return whole parts of amounts (>= 0) that add up to their rounded sum."""
    parts = [floor(amount) for amount in amounts]
    left = half_up(sum(amounts, Fraction())) - sum(parts)
    by_remainder = sorted(range(len(amounts)), key=lambda i: (parts[i] - amounts[i], i))
    for i in by_remainder[:left]:
        parts[i] += 1
    return parts
