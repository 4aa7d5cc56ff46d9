"""A report worked out once more, by other means: slice by slice with fractions instead of moment by moment with whole numbers.

Nothing here is taken from the accounting but the names of its columns. What the accounting spreads and shares out in whole units
is exact here, so that the two may differ by less than one unit for each quarter hour and division.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from gpupool_broker.core import facts as f
from gpupool_broker.core.folded import UseFolded

QUARTER_MS = 900_000


@dataclass
class Piece:
    """A time in which a slice held the same of the same device."""

    tenant: str
    where: tuple[str, str]
    is_burst: bool
    pct: int
    mib: int
    start_ms: int
    end_ms: int


@dataclass
class Sums:
    """What a tenant held and used within the period; energy in millijoules."""

    held_ms: int = 0
    reserved_pct_ms: int = 0
    reserved_mib_ms: int = 0
    used_ns: Fraction = Fraction()
    burst_ns: Fraction = Fraction()
    idle_ns: Fraction = Fraction()
    active_mj: Fraction = Fraction()
    idle_mj: Fraction = Fraction()
    #: Quarters in which something was divided: how far the whole-number sums may be off.
    divisions: int = 0
    waits: Counter[int] = field(default_factory=Counter)


def recompute(facts: Iterable[f.Fact], start_ms: int, end_ms: int) -> dict[str, Sums]:
    """Return the sums of every tenant over [start_ms, end_ms)."""
    facts = list(facts)
    last_ms = max(fact.at_ms for fact in facts)
    pieces = list(_pieces(facts, last_ms))
    sums: dict[str, Sums] = defaultdict(Sums)
    for piece in pieces:
        span = min(piece.end_ms, end_ms) - max(piece.start_ms, start_ms)
        if span > 0:
            sums[piece.tenant].reserved_pct_ms += piece.pct * span
            sums[piece.tenant].reserved_mib_ms += piece.mib * span
    for (tenant, _), spans in _unions(pieces).items():
        sums[tenant].held_ms += sum(max(0, min(end, end_ms) - max(start, start_ms)) for start, end in spans)
    _use(facts, pieces, sums, start_ms, end_ms)
    for fact in facts:
        if isinstance(fact, f.SliceGranted) and start_ms <= fact.at_ms < end_ms:
            sums[fact.tenant].waits[fact.waited_ms] += 1
    return dict(sums)


def _pieces(facts: list[f.Fact], last_ms: int) -> Iterator[Piece]:
    open_: dict[str, Piece] = {}
    for fact in facts:
        slice_id = getattr(fact, "slice_id", None)
        match fact:
            case f.SliceGranted():
                burst = fact.policy == "burst"
                where = (fact.node, fact.device)
                open_[slice_id] = Piece(fact.tenant, where, burst, fact.compute_pct, fact.memory_mib, fact.at_ms, last_ms)
            case f.SliceResized() | f.SliceMoved() | f.SliceStranded() | f.SliceEnded():
                piece = open_[slice_id]
                if piece.end_ms == last_ms:
                    piece.end_ms = fact.at_ms
                    yield piece
                if isinstance(fact, f.SliceEnded | f.SliceStranded):
                    # Of a stranded slice, what it was stays known; it begins to hold again when it is placed.
                    continue
                pct = fact.compute_pct if isinstance(fact, f.SliceResized) else piece.pct
                mib = fact.memory_mib if isinstance(fact, f.SliceResized) else piece.mib
                where = (fact.node, fact.device) if isinstance(fact, f.SliceMoved) else piece.where
                open_[slice_id] = Piece(piece.tenant, where, piece.is_burst, pct, mib, fact.at_ms, last_ms)
    yield from (piece for piece in open_.values() if piece.end_ms == last_ms)


def _unions(pieces: list[Piece]) -> dict[tuple[str, tuple[str, str]], list[tuple[int, int]]]:
    spans: dict[tuple[str, tuple[str, str]], list[tuple[int, int]]] = defaultdict(list)
    for piece in sorted(pieces, key=lambda piece: piece.start_ms):
        mine = spans[piece.tenant, piece.where]
        if mine and piece.start_ms <= mine[-1][1]:
            mine[-1] = mine[-1][0], max(mine[-1][1], piece.end_ms)
        else:
            mine.append((piece.start_ms, piece.end_ms))
    return spans


def _quarters(start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    for quarter in range(start_ms // QUARTER_MS, (end_ms - 1) // QUARTER_MS + 1):
        yield quarter, min(end_ms, (quarter + 1) * QUARTER_MS) - max(start_ms, quarter * QUARTER_MS)


def _use(facts: list[f.Fact], pieces: list[Piece], sums: dict[str, Sums], start_ms: int, end_ms: int) -> None:
    """Add use, what of it was burst, what was idle, and the energy, device and quarter by device and quarter."""
    held: dict[tuple[object, ...], int] = defaultdict(int)
    for piece in pieces:
        for quarter, span in _quarters(piece.start_ms, piece.end_ms):
            held[piece.where, quarter, piece.tenant, piece.is_burst] += piece.pct * span
    used: dict[tuple[object, ...], Fraction] = defaultdict(Fraction)
    energy: dict[tuple[object, ...], Fraction] = defaultdict(Fraction)
    owner = {fact.slice_id: fact for fact in facts if isinstance(fact, f.SliceGranted)}
    for fact in facts:
        if isinstance(fact, f.SliceUsed):
            granted = owner[fact.slice_id]
            for quarter, span in _quarters(fact.at_ms - fact.span_ms, fact.at_ms):
                key = ((granted.node, granted.device), quarter, granted.tenant, granted.policy == "burst")
                used[key] += Fraction(fact.device_ns * span, fact.span_ms)
        elif isinstance(fact, UseFolded):
            for slice_id, quarter, device_ns, *_ in fact.uses:
                granted = owner[slice_id]
                used[(granted.node, granted.device), quarter, granted.tenant, granted.policy == "burst"] += device_ns
            for node, device, quarter, energy_mj, _ in fact.energies:
                energy[(node, device), quarter] += energy_mj
        elif isinstance(fact, f.DevicePowered):
            for quarter, span in _quarters(fact.at_ms - fact.span_ms, fact.at_ms):
                energy[(fact.node, fact.device), quarter] += Fraction(fact.energy_mj * span, fact.span_ms)
    up = _up(facts)
    first, last = start_ms // QUARTER_MS, end_ms // QUARTER_MS
    totals: dict[tuple[object, ...], Fraction] = defaultdict(Fraction)
    for (where, quarter, _, _), amount in used.items():
        totals[where, quarter] += amount
    for key in held.keys() | used.keys():
        where, quarter, tenant, is_burst = key
        if first <= quarter < last:
            mine, promised, sum_ = used[key], Fraction(held[key] * 10_000), sums[tenant]
            sum_.used_ns += mine
            sum_.burst_ns += max(Fraction(), mine - promised) if is_burst else 0
            sum_.idle_ns += max(Fraction(), promised - mine)
            sum_.divisions += 4
            device_ms = up[where, quarter]
            whole_ns = max(device_ms * 1_000_000, totals[where, quarter])
            if whole_ns:
                active, all_active = mine / whole_ns, totals[where, quarter] / whole_ns
                drawn = energy[where, quarter]
                sum_.active_mj += drawn * active
                sum_.idle_mj += drawn * (1 - all_active) * Fraction(held[key], 100 * device_ms)


def _up(facts: list[f.Fact]) -> dict[tuple[object, ...], int]:
    """Return how long each device was there, by quarter."""
    since: dict[tuple[str, str], int] = {}
    up: dict[tuple[object, ...], int] = defaultdict(int)

    def down(where: tuple[str, str], at_ms: int) -> None:
        for quarter, span in _quarters(since.pop(where), at_ms):
            up[where, quarter] += span

    for fact in facts:
        if isinstance(fact, f.NodeJoined):
            for info in fact.devices:
                since.setdefault((fact.node, info.device), fact.at_ms)
        elif isinstance(fact, f.NodeLost):
            for where in [where for where in since if where[0] == fact.node]:
                down(where, fact.at_ms)
    for where in list(since):
        down(where, max(fact.at_ms for fact in facts))
    return up
