"""Whether a document was seen before: by its numbers, else by its picture.

Two documents of one type with the same identity (invoice code and number, say) are one, whatever their pictures. Two that look
alike are one only where their identities do not tell them apart: forms of one printer look alike and are not duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

#: Side of the picture that is transformed, and of the block of low frequencies that is kept: 256 bits.
_SIDE, _KEPT = 64, 16
HASH_BITS = _KEPT * _KEPT
#: Pictures as near as this are the same page scanned or compressed anew; bench/ocr_fields.py measures both kinds of errors.
MAX_DISTANCE = 26


def perceptual_hash(image: NDArray[np.uint8]) -> int:
    """Return 256 bits that change little when a picture (uint8, (H, W) or (H, W, C)) is scaled, compressed or lit otherwise.

    The signs, against their median, of the lowest 16 x 16 coefficients of the discrete cosine transform of the picture at
    64 x 64, the constant one left out.

    Source: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010.
    """
    grey = image if image.ndim == 2 else np.asarray(image.mean(axis=2), np.uint8)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = np.asarray(cv2.dct(small))[:_KEPT, :_KEPT].ravel()
    low[0] = np.median(low[1:])
    bits = low > np.median(low)
    return int("".join("1" if bit else "0" for bit in bits), 2)


def distance(one: int, other: int) -> int:
    """Return in how many bits two hashes differ."""
    return (one ^ other).bit_count()


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A document that was seen: its name, identity (empty where it has none) and perceptual hash (None: no picture)."""

    name: str
    identity: str
    picture: int | None = None


class Register:
    """The documents seen so far. A service keeps one per business."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._by_identity: dict[str, Seen] = {}

    def add(self, document: Seen) -> list[tuple[Seen, str]]:
        """Return the documents this one repeats, each with the reason (`identity` or `picture`), and remember it."""
        found = list(self._matches(document))
        self._seen.append(document)
        if document.identity:
            self._by_identity.setdefault(document.identity, document)
        return found

    def _matches(self, document: Seen) -> Iterator[tuple[Seen, str]]:
        first = self._by_identity.get(document.identity) if document.identity else None
        if first:
            yield first, "identity"
        for other in self._seen:
            if other is first or other.picture is None or document.picture is None:
                continue
            # Where both have a number, the number decides.
            if document.identity and other.identity:
                continue
            if distance(document.picture, other.picture) <= MAX_DISTANCE:
                yield other, "picture"
