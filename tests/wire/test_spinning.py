from __future__ import annotations

from gpupool_wire.spinning import CROWDED_WAITS, LONG_NS, REST_WAITS, Spin


def waits_until_it_looks(spin: Spin) -> int:
    return next(count for count in range(10_000) if spin.budget_ns())


def test_it_looks_as_long_as_that_pays() -> None:
    spin = Spin(50)
    for _ in range(3):
        assert spin.budget_ns() == 50
        spin.hit()


def test_misses_in_a_row_make_it_rest_longer_and_longer() -> None:
    spin, rests = Spin(50), []
    for _ in range(10):
        spin.missed()
        rests.append(waits_until_it_looks(spin))
    assert rests[:4] == [1, 3, 7, 15]
    assert rests[-1] == REST_WAITS
    spin.hit()
    spin.missed()
    assert waits_until_it_looks(spin) == 1


def test_where_others_want_the_core_it_rests() -> None:
    spin = Spin(50)
    spin.crowded()
    assert waits_until_it_looks(spin) == CROWDED_WAITS


def test_what_usually_comes_late_is_slept_through_at_first() -> None:
    spin = Spin(200_000)
    assert spin.nap_ns() == 0
    for _ in range(20):
        spin.took(1_000_000)
    assert spin.nap_ns() == 900_000
    assert spin.budget_ns() == 200_000
    for _ in range(20):
        spin.took(100_000)
    assert spin.nap_ns() == 0


def test_a_late_answer_moves_the_look_little_and_an_early_one_much() -> None:
    spin = Spin(200_000)
    spin.took(1_000_000)
    spin.took(2_000_000)
    assert spin.nap_ns() == 1_025_000
    spin.took(125_000)
    assert spin.nap_ns() == 525_000


def test_what_takes_long_is_not_looked_for() -> None:
    spin = Spin(200_000)
    spin.took(LONG_NS + 1)
    assert spin.budget_ns() == 0
    spin.took(LONG_NS // 2)
    assert spin.budget_ns() == 200_000
