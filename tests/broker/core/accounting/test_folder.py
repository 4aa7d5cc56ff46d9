"""Use folded into quarter hours counts as it did when it was told: every sum, wherever the journal was folded."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.days import Day
from gpupool_broker.core.accounting.folder import HOUR_MS, Clock, Folder, Run
from gpupool_broker.core.accounting.folds import decode, encode
from gpupool_broker.core.accounting.meter import Meter
from gpupool_broker.core.books import Books
from gpupool_broker.core.folded import UseFolded
from gpupool_wire.messages import DeviceInfo
from gpupool_wire.units import Hold, Policy

START_MS = 1_790_000_000_000
DEVICES = [DeviceInfo(device=f"g{n}", kind="null", model="m", memory_mib=4096) for n in range(2)]


class Story:
    """Makes the facts of some hours: slices come, tell, move, end and tell late, on a clock that also jumps and steps back."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.at_ms = START_MS + self.random.randrange(HOUR_MS)
        self.facts: list[f.Fact] = [self._joined(node) for node in ("n", "o")]
        self._slices: list[str] = []
        self._ended: list[str] = []

    def _joined(self, node: str) -> f.Fact:
        return f.NodeJoined(at_ms=self.at_ms, node=node, door="d", devices=DEVICES)

    def go_on(self) -> None:
        self.at_ms += self.random.choice((0, 1, 9_999, 10_000, 10_001, 300_000, 300_000, 900_000, 4_000_000, -5_000))
        one = self.random.choice(self._slices) if self._slices else None
        does = self.random.choices((self._come, self._tell, self._change, self._power), (1, 8, 1, 2))[0]
        self.facts += does(one)

    def _come(self, _one: object) -> Iterator[f.Fact]:
        slice_id = f"s{len(self._slices) + len(self._ended)}"
        self._slices.append(slice_id)
        yield f.SliceGranted(
            at_ms=self.at_ms,
            slice_id=slice_id,
            epoch=1,
            request_id=slice_id,
            tenant=self.random.choice(("t", "u", "t/p")),
            node=self.random.choice("no"),
            device=self.random.choice(("g0", "g1")),
            compute_pct=self.random.randint(1, 40),
            memory_mib=64,
            policy=self.random.choice((Policy.FIXED, Policy.BURST)),
            hold=Hold.HELD,
        )

    def _tell(self, _one: object) -> Iterator[f.Fact]:
        for slice_id in [*self._slices, *self.random.sample(self._ended, min(1, len(self._ended)))]:
            span_ms = self.random.choice((1, 10_000, 10_999, 600_000, 2_000_000))
            used = self.random.choice((0, 1, self.random.randrange(10**12)))
            yield f.SliceUsed(
                at_ms=self.at_ms + self.random.choice((0, 0, -3_000)),
                slice_id=slice_id,
                device_ns=used,
                throttled_ns=used // 3,
                calls=1,
                span_ms=span_ms,
            )

    def _change(self, one: str | None) -> Iterator[f.Fact]:
        if one is None:
            return
        epoch = len(self.facts)
        match self.random.randrange(4):
            case 0:
                self._slices.remove(one)
                self._ended.append(one)
                yield f.SliceEnded(at_ms=self.at_ms, slice_id=one, epoch=epoch, how="released")
            case 1:
                yield f.SliceStranded(at_ms=self.at_ms, slice_id=one, epoch=epoch, reason="lost")
                yield f.SliceMoved(at_ms=self.at_ms, slice_id=one, epoch=epoch, node=self.random.choice("no"), device="g1")
            case 2:
                yield f.SliceResized(at_ms=self.at_ms, slice_id=one, epoch=epoch, compute_pct=7, memory_mib=32)
            case _:
                yield f.NodeLost(at_ms=self.at_ms, node="o", reason="silent")
                yield self._joined("o")

    def _power(self, _one: object) -> Iterator[f.Fact]:
        span_ms = self.random.choice((1, 60_000, 850_000))
        yield f.DevicePowered(
            at_ms=self.at_ms, node=self.random.choice("no"), device="g0", span_ms=span_ms, energy_mj=self.random.randrange(10**8)
        )


def story(seed: int, steps: int = 150) -> list[f.Fact]:
    made = Story(seed)
    for _ in range(steps):
        made.go_on()
    return [*made.facts, f.NodeLost(at_ms=made.at_ms + 3 * HOUR_MS, node="n", reason="bye")]


def hours(facts: list[f.Fact]) -> Iterator[tuple[Clock, list[tuple[int, f.Fact]]]]:
    """Yield the records of each hour of the clock, with the clock before them."""
    clock = before = Clock()
    group: list[tuple[int, f.Fact]] = []
    for seq, fact in enumerate(facts, 1):
        after = clock.after(fact)
        if group and after.hour != clock.hour:
            yield before, group
            before, group = clock, []
        group.append((seq, fact))
        clock = after
    yield before, group


def folded(facts: list[f.Fact], choose: random.Random | None = None) -> list[f.Fact]:
    """Return facts with use folded, of some hours or of all."""
    kept: list[f.Fact] = []
    ended: set[str] = set()
    for clock, group in hours(facts):
        folder = Folder(clock, ended)
        for seq, fact in group:
            folder.take(seq, seq, fact)
        ended = folder.ended
        data = encode(folder.finish() if choose is None or choose.random() < 0.7 else [])
        assert data is not None
        kept += merged(group, decode(data))
    return kept


def merged(group: list[tuple[int, f.Fact]], runs: list[Run]) -> list[f.Fact]:
    told = dict(group)
    for run in runs:
        for seq in range(run.first, run.last + 1):
            assert isinstance(told.pop(seq), f.SliceUsed | f.DevicePowered)
        assert run.crc == run.last
        if run.fact is not None:
            told[run.last] = run.fact
    return [told[seq] for seq in sorted(told)]


def counted(facts: list[f.Fact]) -> tuple[list[Day], Meter]:
    meter = Meter()
    for fact in facts:
        meter.take(fact)
    days = meter.days() + meter.today()
    for day in days:
        day.minutes = {}
    return days, meter


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_folded_use_counts_as_it_was_told(seed: int) -> None:
    facts = story(seed)
    days, meter = counted(facts)
    for chosen in (None, random.Random(seed)):
        fewer = folded(facts, chosen)
        again, other = counted(fewer)
        assert again == days
        assert other.state.slices == meter.state.slices
        assert (other.state.at_ms, other.settled_ms) == (meter.state.at_ms, meter.settled_ms)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_books_made_of_folded_use_are_the_same(seed: int) -> None:
    facts = [fact for fact in story(seed) if not isinstance(fact, f.SliceStranded | f.SliceMoved | f.NodeLost)]
    books = []
    for told in (facts, folded(facts)):
        books.append(Books())
        for fact in told:
            books[-1].apply(fact)
    assert books[0].slices == books[1].slices


def test_nothing_of_use_is_left() -> None:
    kept = folded(story(7))
    assert not any(isinstance(fact, f.SliceUsed | f.DevicePowered) for fact in kept)
    assert any(fact.uses and fact.energies for fact in kept if isinstance(fact, UseFolded))


def test_an_hour_in_which_use_was_told_without_its_span_is_left_alone() -> None:
    folder = Folder(Clock())
    for seq in (1, 2):
        folder.take(
            seq, 0, f.SliceUsed(at_ms=START_MS, slice_id="s", device_ns=1, throttled_ns=0, calls=1, span_ms=1000 * (seq - 1))
        )
    assert folder.finish() == []


def test_minutes_are_kept_as_the_first_and_the_last() -> None:
    quarter_ms = START_MS - START_MS % 900_000
    folder = Folder(Clock())
    for number, minute in enumerate((3, 5), 1):
        at_ms = quarter_ms + 60_000 * minute
        folder.take(number, 0, f.SliceUsed(at_ms=at_ms, slice_id="s", device_ns=9, throttled_ns=0, calls=1, span_ms=1))
    (run,) = folder.finish()
    assert run.fact is not None
    assert run.fact.uses == [("s", quarter_ms // 900_000, 18, 2, 4)]


def test_numbers_beyond_what_can_be_packed_are_not_folded() -> None:
    folder = Folder(Clock())
    folder.take(1, 0, f.SliceUsed(at_ms=START_MS, slice_id="s", device_ns=2**64, throttled_ns=0, calls=1, span_ms=1))
    assert encode(folder.finish()) is None


def test_what_is_no_fold_is_said() -> None:
    for data in (b"", b"\x93", msgspec.msgpack.encode([b"x"] * 7 + [0, 0])):
        with pytest.raises(ValueError, match="the fold cannot be read"):
            decode(data)


def test_names_of_any_characters_come_back() -> None:
    use = UseFolded(at_ms=5, uses=[("a\nb", 3, 1, 0, 0)], energies=[("n", "財", 3, 1, 1)], totals=[("a\nb", 1, 0, 1, 5)])
    assert decode(encode([Run(1, 4, 9), Run(6, 6, 8, use)]) or b"") == [Run(1, 4, 9), Run(6, 6, 8, use)]
