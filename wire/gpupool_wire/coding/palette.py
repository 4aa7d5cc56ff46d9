"""Pixels that were bytes once: each float becomes the byte it was made of, and a table says what it became.

    x ── x * scale + shift ──> a float of 2^23 and more, whose low bits are whole numbers ── bits 8 to 15 ──> index
    index ──> table[index] == x, bit for bit?  ──no──> a free entry learns x, or this is no such image

A normalised image, (p / 255 - mean) / deviation, holds at most 256 values in equal steps. Which arithmetic made them does not
matter: scale and shift only guess the index, and the table, learnt from the values themselves, is what the other end decodes
with. Indexes are taken modulo 256, so it does not matter either which pixel value the first one seen was.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bits = NDArray[np.uint32]
Indexes = NDArray[np.uint8]

#: Values of a palette: what a byte can tell apart.
ENTRIES: Final = 256
TABLE_BYTES: Final = ENTRIES * 4
#: Pixels worked on at a time: their floats, bits and indexes stay in a core's second-level cache.
BLOCK: Final = 32_768
#: From here on two pixels are looked up at a time, in a table of all pairs (512 KiB), which takes a while to make.
PAIRED_FROM: Final = 65_536
#: 1.5 * 2^23: a float32 of that size has no fraction, and room below for whole numbers of either sign.
_MAGIC: Final = 12_582_912.0
#: The byte of a little-endian float that holds bits 8 to 15: the guess is scaled by 256, to place steps' middles in between.
_BYTE: Final = 1


class Scratch(NamedTuple):
    """Room for the floats and bits of one block, which would take longer to allocate for each plane than to fill."""

    floats: Floats
    bits: Bits

    @classmethod
    def new(cls) -> Scratch:
        """Return some that nobody else writes to."""
        return cls(np.empty(BLOCK, np.float32), np.empty(BLOCK, np.uint32))


class Unfit(Exception):
    """These values do not fit the palette: two of them have one index. Carries some values that show why."""

    def __init__(self, values: Floats) -> None:
        super().__init__()
        self.values = values


class Palette:
    """A guess of indexes and the table learnt with it so far."""

    __slots__ = ("_known", "_pairs", "_unchanged", "scale", "shift", "table", "values")

    def __init__(self, values: Floats, scale: np.float32, shift: np.float32) -> None:
        self.scale = scale
        self.shift = shift
        #: The values that scale and shift were guessed from.
        self.values = values
        self.table = self._placeholders()
        self._known = np.zeros(ENTRIES, np.bool_)
        self._pairs: NDArray[np.uint64] | None = None
        self._unchanged = 0

    def __repr__(self) -> str:
        return f"<Palette of {int(self._known.sum())} values>"

    def copy(self) -> Palette:
        """Return one that learns by itself."""
        twin = Palette.__new__(Palette)
        twin.scale, twin.shift, twin.values = self.scale, self.shift, self.values
        twin.table, twin._known = self.table.copy(), self._known.copy()
        twin._pairs, twin._unchanged = self._pairs, self._unchanged
        return twin

    def encode(self, plane: Floats, out: Indexes, scratch: Scratch) -> None:
        """Write the indexes of a plane (rows, columns) of float32 to `out` (flat); new values are learnt.

        Raises Unfit where two values would share an index.
        """
        floats, found = scratch
        place = 0
        with np.errstate(all="ignore"):
            for block in _blocks(plane):
                size = block.size
                indexes = out[place : place + size]
                self._guess(block, floats[:size].reshape(block.shape), indexes)
                self._look_up(indexes, found[:size])
                bits = block.view(np.uint32)
                if not np.array_equal(found[:size].reshape(block.shape), bits):
                    self._learn(indexes, bits.reshape(-1), found[:size])
                place += size

    def _guess(self, block: Floats, floats: Floats, indexes: Indexes) -> None:
        np.multiply(block, self.scale, out=floats)
        np.add(floats, self.shift, out=floats)
        indexes[:] = floats.view(np.uint8).reshape(-1)[_BYTE::4]

    def _look_up(self, indexes: Indexes, out: Bits) -> None:
        if self._pairs is None and self._unchanged >= PAIRED_FROM:
            self._pairs = paired(self.table.tobytes())
        self._unchanged += indexes.size
        look_up(indexes, self.table, self._pairs, out)

    def _learn(self, indexes: Indexes, bits: Bits, found: Bits) -> None:
        wrong = found != bits
        slots, values = indexes[wrong], bits[wrong]
        table = self.table.copy()
        table[slots] = values
        if self._known[slots].any() or not np.array_equal(table[slots], values):
            raise Unfit(np.unique(bits).view(np.float32))
        self.table = table
        self._known[slots] = True
        self._pairs, self._unchanged = None, 0

    def _placeholders(self) -> Bits:
        """Return a table of values none of which has the index it stands at, so that an entry nobody learnt never matches."""
        opposite = ((np.arange(ENTRIES) + ENTRIES // 2) % ENTRIES * 256 + 128).astype(np.float64)
        made = ((opposite + _MAGIC - np.float64(self.shift)) / np.float64(self.scale)).astype(np.float32)
        indexes = np.empty(ENTRIES, np.uint8)
        self._guess(made, np.empty(ENTRIES, np.float32), indexes)
        if (indexes == np.arange(ENTRIES)).any():
            raise Unfit(made)
        return made.view(np.uint32).copy()


def guess(values: Floats) -> Palette | None:
    """Return a palette for values (any number, in any order); None where they are no equal steps, or too many."""
    with np.errstate(all="ignore"):
        values = np.unique(values[np.isfinite(values)])
        if not 1 <= values.size <= ENTRIES:
            return None
        wide = values.astype(np.float64)
        step = _step(wide)
        scale = np.float32(256 / step)
        if not (np.isfinite(scale) and scale > 0) or abs(wide).max() * float(scale) > 2**21:
            return None  # steps too small against the values: the guess would have no bits left for them
        # The smallest value's guess falls into the middle of its step.
        shift = np.float32(_MAGIC + round((128 - wide[0] * float(scale)) % 65_536))
        try:
            return Palette(values, scale, shift)
        except Unfit:
            return None


def _step(values: NDArray[np.float64]) -> float:
    """Return the distance of neighbours among sorted values, from the smallest one and then from all they span."""
    if values.size == 1:
        return float(abs(values[0])) or 1.0
    step = float(np.diff(values).min())
    span = float(values[-1] - values[0])
    return span / max(1, round(span / step)) if step > 0 else 0.0


def _blocks(plane: Floats) -> Iterator[Floats]:
    """Yield a plane in parts of at most BLOCK pixels that a view of another type can be taken of."""
    if plane.flags.c_contiguous:
        flat = plane.reshape(-1)
        yield from (flat[start : start + BLOCK] for start in range(0, flat.size, BLOCK))
        return
    rows = max(1, BLOCK // plane.shape[1])
    for top in range(0, plane.shape[0], rows):
        part = plane[top : top + rows]
        yield from (part[:, left : left + BLOCK] for left in range(0, part.shape[1], BLOCK))


def decode(indexes: Indexes, table: Bits, out: Bits, scratch: Scratch) -> None:
    """Write what `indexes` (flat) stand for to `out` (rows, columns)."""
    pairs = paired(table.tobytes()) if indexes.size >= PAIRED_FROM else None
    place = 0
    for block in _blocks(out.view(np.float32)):
        bits = block.view(np.uint32)
        chosen = indexes[place : place + bits.size]
        place += bits.size
        if bits.flags.c_contiguous:
            look_up(chosen, table, pairs, bits.reshape(-1))
        else:
            look_up(chosen, table, pairs, scratch.bits[: bits.size])
            bits[:] = scratch.bits[: bits.size].reshape(bits.shape)


def look_up(indexes: Indexes, table: Bits, pairs: NDArray[np.uint64] | None, out: Bits) -> None:
    """Write table[indexes] to `out`, both flat; two at a time where there is a table of pairs and they are aligned for it."""
    even = indexes.size & ~1
    if pairs is None or not even or indexes.ctypes.data % 2 or out.ctypes.data % 8:
        np.take(table, indexes, out=out, mode="clip")  # no index is out of range; "raise" would copy `out` to be safe
        return
    np.take(pairs, indexes[:even].view(np.uint16), out=out[:even].view(np.uint64), mode="clip")
    out[even:] = table[indexes[even:]]


@lru_cache(maxsize=8)
def paired(table: bytes) -> NDArray[np.uint64]:
    """Return a table of all pairs of a table's entries, by two indexes read as one little-endian uint16."""
    bits = np.frombuffer(table, np.uint32)
    both = np.empty((ENTRIES, ENTRIES, 2), np.uint32)
    both[:, :, 0] = bits
    both[:, :, 1] = bits[:, None]
    return both.reshape(-1).view(np.uint64)
