"""A link's speed is told from what it carries."""

from __future__ import annotations

from gpupool_wire.coding.link_speed import LARGE_BYTES, REMEMBERED, LinkSpeed


def test_until_something_large_has_travelled_it_is_what_was_assumed() -> None:
    speed = LinkSpeed(1e8)
    speed.observe(LARGE_BYTES - 1, 1)
    assert speed.bytes_per_s == 1e8


def test_the_round_trip_is_not_held_against_the_link() -> None:
    speed = LinkSpeed(1e8)
    speed.observe(200, 10_000_000)
    speed.observe(1_000_000, 20_000_000)
    assert speed.bytes_per_s == 1e8  # a megabyte in the ten milliseconds beyond the trip


def test_a_few_slow_messages_do_not_outweigh_what_was_assumed() -> None:
    speed = LinkSpeed(1e9)
    for _ in range(REMEMBERED - 1):
        speed.observe(1_000_000, 100_000_000)
    assert speed.bytes_per_s == 1e9


def test_delays_of_others_making_do_not_count() -> None:
    speed = LinkSpeed(1e6)
    for ns in (50_000_000, 10_000_000, 90_000_000):
        speed.observe(1_000_000, ns)
    assert round(speed.bytes_per_s) == 100_000_000


def test_a_link_that_became_slow_is_seen_to_be() -> None:
    speed = LinkSpeed(1e6)
    speed.observe(1_000_000, 1_000_000)
    for _ in range(REMEMBERED):
        speed.observe(1_000_000, 100_000_000)
    assert round(speed.bytes_per_s) == 10_000_000


def test_a_trip_as_long_as_the_transfer_does_not_make_it_infinitely_fast() -> None:
    speed = LinkSpeed(1e6)
    speed.observe(200, 10_000_000)
    speed.observe(1_000_000, 10_000_000)
    assert speed.bytes_per_s == 4e8
