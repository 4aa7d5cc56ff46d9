"""The achieved share of the last ten seconds."""

from __future__ import annotations

from gpupool_agent.core.share import WINDOW_NS, Share

S = 1_000_000_000


def test_there_is_none_before_the_first_sample() -> None:
    assert Share().achieved_millipct(5 * S, 1) == 0


def test_it_is_device_time_over_wall_time() -> None:
    share = Share()
    share.sample(0, 0)
    assert share.achieved_millipct(4 * S, S) == 25_000


def test_waiting_counts_over_the_same_window() -> None:
    share = Share()
    assert share.throttled_ns(5) == 0
    for second in range(1, 31):
        share.sample(second * S, 0, second * 100)
    assert share.throttled_ns(3_050) == 1_050


def test_what_is_older_than_the_window_no_longer_counts() -> None:
    share = Share()
    share.sample(0, 0)
    for second in range(1, 31):
        share.sample(second * S, min(second, 10) * S)  # busy for ten seconds, then idle
    assert share.achieved_millipct(30 * S, 10 * S) == 0
    assert WINDOW_NS == 10 * S
