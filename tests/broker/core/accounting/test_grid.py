"""Amounts divided to the last unit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpupool_broker.core.accounting.grid import share_out, spread

amounts = st.integers(0, 10**15)


@given(amounts, st.integers(0, 10**7), st.integers(1, 10**7))
def test_a_spread_amount_adds_up_and_is_even(amount: int, start: int, length: int) -> None:
    parts = list(spread(amount, start, start + length, 900))
    assert sum(part for _, part in parts) == amount
    for step, part in parts:
        overlap = min(start + length, (step + 1) * 900) - max(start, step * 900)
        assert abs(part - amount * overlap / length) <= 1 + amount * 1e-12


def test_an_amount_of_a_moment_lies_in_its_step() -> None:
    assert list(spread(7, 1800, 1800, 900)) == [(2, 7)]


@given(amounts, st.lists(st.integers(0, 10**12), min_size=1, max_size=8))
def test_shares_add_up_and_are_less_than_one_off(amount: int, weights: list[int]) -> None:
    parts = share_out(amount, weights)
    assert sum(parts) == amount
    if total := sum(weights):
        assert all(
            amount * weight // total <= part <= amount * weight // total + 1 for part, weight in zip(parts, weights, strict=True)
        )


def test_what_nobody_weighs_goes_to_the_last() -> None:
    assert share_out(5, [0, 0, 0]) == [0, 0, 5]
