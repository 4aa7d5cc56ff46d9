"""The memory ledger: sums are exact, the limit holds, refusals name the numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpupool_agent.core.ledger import Charge, Ledger, Purpose
from gpupool_wire.errors import Conflict, LocalProtocolError, OutOfSliceMemory
from gpupool_wire.units import MIB


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(100 * MIB)


def test_what_is_taken_is_used_until_it_is_given_back(ledger: Ledger) -> None:
    weights = ledger.take(60 * MIB, Purpose.WEIGHTS, "model a")
    arrays = ledger.take(40 * MIB, Purpose.ARRAYS, "call 1")
    assert (ledger.used_bytes, ledger.free_bytes) == (100 * MIB, 0)
    assert ledger.by_purpose() == {Purpose.WEIGHTS: 60 * MIB, Purpose.ACTIVATIONS: 0, Purpose.ARRAYS: 40 * MIB}
    ledger.give(weights)
    ledger.give(arrays)
    assert (ledger.used_bytes, ledger.peak_bytes) == (0, 100 * MIB)


def test_a_refusal_names_used_asked_limit_and_who_holds_the_most(ledger: Ledger) -> None:
    for number in range(5):
        ledger.take((number + 1) * MIB, Purpose.WEIGHTS, f"model {number}")
    with pytest.raises(OutOfSliceMemory) as caught:
        ledger.take(90 * MIB, Purpose.ACTIVATIONS, "model 4")
    assert caught.value.details == {"used_bytes": 15 * MIB, "asked_bytes": 90 * MIB, "limit_bytes": 100 * MIB}
    for part in ("90.0 MiB", "15.0 MiB", "100.0 MiB", "5.0 MiB for weights of model 4", "and 2 more"):
        assert part in caught.value.message
    assert ledger.used_bytes == 15 * MIB


def test_exactly_the_rest_fits(ledger: Ledger) -> None:
    ledger.take(100 * MIB - 1, Purpose.ARRAYS, "a")
    ledger.take(1, Purpose.ARRAYS, "b")
    with pytest.raises(OutOfSliceMemory):
        ledger.take(1, Purpose.ARRAYS, "c")


def test_nothing_is_given_back_twice(ledger: Ledger) -> None:
    charge = ledger.take(1, Purpose.ARRAYS, "a")
    ledger.give(charge)
    with pytest.raises(LocalProtocolError):
        ledger.give(charge)
    assert ledger.used_bytes == 0


def test_negative_amounts_are_refused(ledger: Ledger) -> None:
    with pytest.raises(LocalProtocolError):
        ledger.take(-1, Purpose.ARRAYS, "a")


def test_the_limit_never_goes_below_what_is_used(ledger: Ledger) -> None:
    ledger.take(50 * MIB, Purpose.WEIGHTS, "model a")
    with pytest.raises(Conflict, match=r"50\.0 MiB.*model a"):
        ledger.resize(50 * MIB - 1)
    assert ledger.limit_bytes == 100 * MIB
    ledger.resize(50 * MIB)
    assert ledger.free_bytes == 0


def test_an_empty_ledger_says_so(ledger: Ledger) -> None:
    assert ledger.held_by() == "nothing is held"
    assert repr(ledger) == "<Ledger, 0 of 104857600 bytes used, 0 charges>"


Step = tuple[str, int]


@given(st.lists(st.tuples(st.sampled_from(["take", "give", "resize"]), st.integers(0, 1000)), max_size=60))
def test_any_history_keeps_the_books(steps: list[Step]) -> None:
    ledger = Ledger(1000)
    held: list[Charge] = []

    def take(amount: int) -> None:
        held.append(ledger.take(amount, list(Purpose)[amount % 3], f"holder {amount % 5}"))

    def give(amount: int) -> None:
        if held:
            ledger.give(held.pop(amount % len(held)))

    doors: dict[str, Callable[[int], None]] = {"take": take, "give": give, "resize": ledger.resize}
    for step, amount in steps:
        before = (ledger.used_bytes, ledger.limit_bytes, len(held))
        try:
            doors[step](amount)
        except (OutOfSliceMemory, Conflict):
            assert (ledger.used_bytes, ledger.limit_bytes, len(held)) == before
        total = sum(charge.nbytes for charge in held)
        assert ledger.used_bytes == total <= ledger.limit_bytes
        assert sum(ledger.by_purpose().values()) == total
        assert ledger.peak_bytes >= total
