"""A clock that never goes back."""

from __future__ import annotations

from gpupool_broker.access.clock import SteadyClock


def test_it_follows_the_wall_clock_forward_and_carries_on_when_that_goes_back() -> None:
    wall, monotonic = [1_000], [0]
    clock = SteadyClock(lambda: wall[0], lambda: monotonic[0])
    wall[0], monotonic[0] = 5_000, 10
    assert clock() == 5_000
    wall[0], monotonic[0] = 100, 30
    assert clock() == 5_020
    wall[0], monotonic[0] = 6_000, 31
    assert clock() == 6_000
