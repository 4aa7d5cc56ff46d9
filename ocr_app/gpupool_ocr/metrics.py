"""How well text was read: character recall and precision on normalised text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def normalise(text: str) -> str:
    """Return text for comparison: NFKC, case folded, without white space."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def character_matches(truth: Iterable[str], read: Iterable[str]) -> tuple[int, int, int]:
    """Return (matched, in the truth, read) characters of a page as multisets of characters."""
    from collections import Counter

    expected, found = Counter(normalise("".join(truth))), Counter(normalise("".join(read)))
    return (expected & found).total(), expected.total(), found.total()


def edit_distance(one: str, other: str) -> int:
    """Return how many characters must be put in, taken out or replaced to make one text the other.

    Source: Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals", 1966; by dynamic programming.
    """
    row = list(range(len(other) + 1))
    for line, char in enumerate(one, 1):
        before, row[0] = row[0], line
        for column, wanted in enumerate(other, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (char != wanted))
    return row[-1]
