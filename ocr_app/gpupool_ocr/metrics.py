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
