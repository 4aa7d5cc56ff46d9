"""Waits are counted within one per cent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpupool_broker.core.accounting.waits import bucket_of, percentile


@given(st.integers(0, 10**10))
def test_a_wait_is_counted_as_itself_or_less_than_a_hundredth_more(wait: int) -> None:
    assert wait <= bucket_of(wait) <= wait * 1.008
    assert wait > 255 or bucket_of(wait) == wait


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentile({1: 50, 2: 45, 9: 5}, 50) == 1
    assert percentile({1: 50, 2: 45, 9: 5}, 95) == 2
    assert percentile({1: 50, 2: 44, 9: 6}, 95) == 9
    assert percentile({}, 50) is None
