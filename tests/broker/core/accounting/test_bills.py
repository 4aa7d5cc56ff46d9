"""Parts add up to the cent."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gpupool_broker.core.accounting.bills import half_up, parts_of


@given(st.lists(st.fractions(0, 10**6), max_size=20))
def test_parts_add_up_to_the_rounded_sum_and_are_less_than_one_off(amounts: list[Fraction]) -> None:
    parts = parts_of(amounts)
    assert sum(parts) == half_up(sum(amounts, Fraction()))
    assert all(abs(part - amount) < 1 for part, amount in zip(parts, amounts, strict=True))


def test_half_a_cent_goes_up() -> None:
    assert [half_up(Fraction(n, 2)) for n in (1, 3, 5)] == [1, 2, 3]
