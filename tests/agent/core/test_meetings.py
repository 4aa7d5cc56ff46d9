"""Which calls are executed as one, and what has to be shown before."""

from __future__ import annotations

import pytest

from gpupool_agent.core.meetings import (
    LONGEST_NS,
    MAX_APART,
    MAX_KINDS,
    RESTS,
    Likeness,
    Meetings,
    Way,
    largest_count,
    rows_are_free,
)
from gpupool_wire.messages import TensorInfo

ALIKE = Likeness((("x", "float32", (3,)),), None, ())
PAIR = (1, 1)


def other(width: int) -> Likeness:
    return Likeness((("x", "float32", (width,)),), None, ())


def meet(meetings: Meetings, times: int, *, likeness: Likeness = ALIKE, quicker: bool = True) -> list[Way]:
    """Let calls meet so often; every proof shows the same bits."""
    ways = []
    for _ in range(times):
        ways.append(meetings.way(likeness, PAIR))
        if ways[-1] is Way.BOTH:
            meetings.shown(likeness, PAIR, same=True, alone_ns=100, together_ns=50 if quicker else 90)
    return ways


def test_the_first_meeting_and_ever_rarer_ones_are_proofs() -> None:
    ways = meet(Meetings(), 16)
    assert [number for number, way in enumerate(ways, 1) if way is Way.BOTH] == [1, 2, 4, 8, 16]
    assert set(ways) == {Way.BOTH, Way.TOGETHER}


def test_what_differs_once_is_apart_for_good_in_any_number() -> None:
    meetings = Meetings()
    meet(meetings, 3)
    assert meetings.way(ALIKE, PAIR) is Way.BOTH
    meetings.shown(ALIKE, PAIR, same=False, alone_ns=100, together_ns=1)
    assert meet(meetings, 40) == [Way.ALONE] * 40
    assert meetings.way(ALIKE, (1, 1, 1, 1)) is Way.ALONE
    assert meetings.way(other(4), PAIR) is Way.BOTH


def test_numbers_of_rows_are_proven_one_by_one() -> None:
    meetings = Meetings()
    meet(meetings, 3)
    assert meetings.way(ALIKE, PAIR) is Way.BOTH
    assert meetings.way(ALIKE, (1, 2)) is Way.BOTH


def test_what_is_hardly_quicker_stays_alone_and_is_looked_at_again() -> None:
    meetings = Meetings()
    ways = meet(meetings, 15, quicker=False)
    assert [number for number, way in enumerate(ways, 1) if way is Way.BOTH] == [1, 4]
    assert set(ways) == {Way.BOTH, Way.ALONE}
    assert meet(meetings, 2) == [Way.BOTH, Way.TOGETHER], "all proofs count, and in all it pays by now"


def test_a_proof_that_was_not_made_is_still_due() -> None:
    meetings = Meetings()
    assert [meetings.way(ALIKE, PAIR) for _ in range(3)] == [Way.BOTH] * 3


def test_what_is_postponed_has_its_chance_later() -> None:
    meetings = Meetings()
    meetings.postpone(ALIKE, PAIR)
    assert [meetings.way(ALIKE, PAIR) for _ in range(RESTS + 1)] == [Way.ALONE] * RESTS + [Way.BOTH]


def test_what_is_remembered_is_bounded() -> None:
    meetings = Meetings()
    meet(meetings, 3)
    for width in range(MAX_KINDS):
        meetings.way(other(width + 10), PAIR)
    assert meetings.way(ALIKE, PAIR) is Way.BOTH, "forgotten, so proven again"
    for width in range(MAX_APART):
        meetings.shown(other(width + 20), PAIR, same=False, alone_ns=1, together_ns=1)
    assert meetings.way(ALIKE, PAIR) is Way.ALONE
    assert repr(meetings) == f"<Meetings of {MAX_KINDS - MAX_APART} kinds, {MAX_APART} apart>"


@pytest.mark.parametrize(
    ("waiting", "call_ns", "count"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 2), (7, 1, 4), (8, 1, 8), (100, 1, 8), (8, LONGEST_NS // 4, 4), (8, LONGEST_NS, 1)],
)
def test_counts_are_few_and_the_whole_is_bounded_in_time(waiting: int, call_ns: int, count: int) -> None:
    assert largest_count(waiting, call_ns) == count


def tensor(*shape: int | str | None, kind: str = "tensor(float)") -> TensorInfo:
    return TensorInfo(name="x", type=kind, shape=list(shape))


@pytest.mark.parametrize(
    ("inputs", "outputs", "free"),
    [
        ([tensor("N", 3)], [tensor("N", 40, "M")], True),
        ([tensor("N", 3), tensor("N")], [tensor("N")], True),
        ([tensor("N", 3)], [tensor("N"), tensor("M")], False),
        ([tensor("N", 3)], [tensor(1, 3)], False),
        ([tensor("N", 3), tensor(3)], [tensor("N")], False),
        ([tensor(None, 3)], [tensor(None, 3)], False),
        ([tensor("N", 3)], [tensor()], False),
        ([tensor("N")], [], False),
        ([], [tensor("N")], False),
        ([tensor("N", kind="tensor(string)")], [tensor("N")], False),
        ([tensor("N")], [tensor("N", kind="seq(tensor(float))")], False),
    ],
)
def test_the_first_dimension_is_free_where_all_say_so_with_one_name(
    inputs: list[TensorInfo], outputs: list[TensorInfo], free: bool
) -> None:
    assert rows_are_free(inputs, outputs) is free
