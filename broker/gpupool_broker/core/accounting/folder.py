"""One hour of use, told every few seconds, folded into its quarter hours: what stands in the journal's place for it. Pure.

    record:  used  used  resized  used  used ║ used  ended  used      ║ a quarter of the clock is over
    run:     ━━━━━━━━━━▶          ━━━━━━━━━━▶  ━━━━▶        ━━━━▶
                     s             everything   s           ...       at the end of a run: what is counted there at the latest

A meter that gets the sums at these places gives what it gave for the records, to the last unit. Between two records of which none
tells of the slice itself, and no quarter is settled, when its use is counted makes no difference. So a slice's sums are placed
before any other fact about it, and all sums of a quarter before that quarter is settled. Slices that ended lately are forgotten
at the turn of a quarter: their sums are placed before it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final, Generic, TypeVar

import msgspec

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.grid import MINUTE_MS, QUARTER_MS, spread
from gpupool_broker.core.folded import UseFolded

HOUR_MS: Final = 4 * QUARTER_MS
_Key = TypeVar("_Key", bound=Hashable)


class Clock(msgspec.Struct):
    """The time as the meter knows it: never backwards, with the first quarter that is not settled."""

    at_ms: int = 0
    open_quarter: int = 0

    @property
    def hour(self) -> int:
        """Hours since 1970 (UTC)."""
        return self.at_ms // HOUR_MS

    def after(self, fact: f.Fact) -> Clock:
        """Return the time after a fact."""
        at_ms = max(self.at_ms, fact.at_ms)
        quarter = at_ms // QUARTER_MS
        return Clock(at_ms, max(self.open_quarter, quarter - 1) if self.open_quarter else quarter)


class Run(msgspec.Struct):
    """Records that stand side by side and were folded."""

    first: int
    last: int
    #: The chain's checksum behind the last of them.
    crc: int
    #: What is to be counted behind it; None where that comes later.
    fact: UseFolded | None = None


class _Pending(Generic[_Key]):
    """Sums by key and quarter that have no place yet."""

    def __init__(self) -> None:
        self.sums: dict[_Key, dict[int, list[int]]] = {}

    def of(self, key: _Key, quarter: int) -> list[int] | None:
        return self.sums.setdefault(key, {}).get(quarter)

    def pop(self, key: _Key, before: int | None = None) -> list[tuple[int, list[int]]]:
        """Take out what there is of a key, of quarters before one."""
        quarters = self.sums.get(key, {})
        taken = [(quarter, quarters.pop(quarter)) for quarter in sorted(quarters) if before is None or quarter < before]
        if not quarters:
            self.sums.pop(key, None)
        return taken


class Folder:
    """Takes the records of one hour of the clock in order; gives the runs, or none where they cannot be folded."""

    def __init__(self, clock: Clock, ended: Iterable[str] = ()) -> None:
        """`clock` is the time before the first record; `ended` are the slices that ended in the hour before."""
        self.clock = clock
        #: The slices that ended in this hour.
        self.ended: set[str] = set()
        self._ended_before = frozenset(ended)
        self._runs: list[Run] = []
        #: When the last run was told, and whether the next record begins another.
        self._told_ms = 0
        self._is_closed = True
        self._uses: _Pending[str] = _Pending()
        self._energies: _Pending[tuple[str, str]] = _Pending()
        #: Slice → device ns, throttled ns, calls, told last.
        self._totals: dict[str, list[int]] = {}
        self._is_foldable = True

    def __repr__(self) -> str:
        return f"<Folder, {len(self._runs)} runs of {len(self._totals)} slices>"

    def take(self, seq: int, crc: int, fact: f.Fact) -> None:
        """Take the next record."""
        clock = self.clock.after(fact)
        if clock.open_quarter > self.clock.open_quarter or clock.at_ms // QUARTER_MS > self.clock.at_ms // QUARTER_MS:
            self._turn(clock.open_quarter)
        self.clock = clock
        match fact:
            case f.SliceUsed():
                self._take_use(fact)
                self._extend(seq, crc)
            case f.DevicePowered():
                self._take_energy(fact)
                self._extend(seq, crc)
            case _:
                self._is_closed = True
                slice_id = getattr(fact, "slice_id", None)
                # A clock that stepped back: the fact counts at the time of the records before it.
                self._place(uses=[] if slice_id is None else [slice_id], is_needed=fact.at_ms < self._told_ms)
                if isinstance(fact, f.SliceEnded):
                    self.ended.add(fact.slice_id)

    def finish(self) -> list[Run]:
        """Return the runs; none where somebody told use without its span, which depends on when it was told before."""
        self._place(uses=list(self._uses.sums), energies=list(self._energies.sums))
        if self._runs and self._is_foldable:
            last = self._runs[-1]
            told = last.fact or UseFolded(at_ms=self._told_ms)
            totals = [(slice_id, *sums) for slice_id, sums in sorted(self._totals.items())]
            last.fact = msgspec.structs.replace(told, totals=totals)
        return self._runs if self._is_foldable else []

    def _extend(self, seq: int, crc: int) -> None:
        if self._is_closed:
            self._runs.append(Run(seq, seq, crc))
            self._is_closed = False
        run = self._runs[-1]
        run.last, run.crc, self._told_ms = seq, crc, self.clock.at_ms

    def _take_use(self, fact: f.SliceUsed) -> None:
        if not fact.span_ms:
            self._is_foldable = False
            return
        start_ms = self._start_ms(fact.span_ms)
        for quarter, part in spread(fact.device_ns, start_ms, self.clock.at_ms, QUARTER_MS):
            first = max(0, start_ms // MINUTE_MS - 15 * quarter)
            last = min(14, max(start_ms, self.clock.at_ms - 1) // MINUTE_MS - 15 * quarter)
            known = self._uses.of(fact.slice_id, quarter)
            if known is None:
                self._uses.sums[fact.slice_id][quarter] = [part, first, last]
            else:
                known[:] = known[0] + part, min(known[1], first), max(known[2], last)
        totals = self._totals.setdefault(fact.slice_id, [0, 0, 0, 0])
        totals[0] += fact.device_ns
        totals[1] += fact.throttled_ns
        totals[2] += fact.calls
        totals[3] = self.clock.at_ms

    def _take_energy(self, fact: f.DevicePowered) -> None:
        key, start_ms, at_ms = (fact.node, fact.device), self._start_ms(fact.span_ms), self.clock.at_ms
        energies, times = (spread(amount, start_ms, at_ms, QUARTER_MS) for amount in (fact.energy_mj, at_ms - start_ms))
        for (quarter, energy_mj), (_, powered_ms) in zip(energies, times, strict=True):
            known = self._energies.of(key, quarter) or [0, 0]
            self._energies.sums[key][quarter] = [known[0] + energy_mj, known[1] + powered_ms]

    def _start_ms(self, span_ms: int) -> int:
        at_ms = self.clock.at_ms
        return min(at_ms, max(at_ms - span_ms, self.clock.open_quarter * QUARTER_MS))

    def _turn(self, open_quarter: int) -> None:
        """Place what the turn of a quarter settles or forgets; the rest waits for what is told across it."""
        self._place(uses=self._uses.sums.keys() & (self.ended | self._ended_before))
        self._place(uses=list(self._uses.sums), energies=list(self._energies.sums), before=open_quarter)

    def _place(
        self,
        *,
        uses: Iterable[str] = (),
        energies: Iterable[tuple[str, str]] = (),
        before: int | None = None,
        is_needed: bool = False,
    ) -> None:
        """Have sums counted behind the last run; where the place `is_needed`, its time too."""
        used = [(key, quarter, *sums) for key in uses for quarter, sums in self._uses.pop(key, before)]
        drawn = [(*key, quarter, *sums) for key in energies for quarter, sums in self._energies.pop(key, before)]
        if self._runs and (used or drawn or is_needed):
            run = self._runs[-1]
            told = run.fact or UseFolded(at_ms=self._told_ms)
            run.fact = msgspec.structs.replace(told, uses=told.uses + used, energies=told.energies + drawn)
            self._is_closed = True
