from __future__ import annotations

from gpupool_wire.spinning import CROWDED_WAITS, REST_WAITS, Spin


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
