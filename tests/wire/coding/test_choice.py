"""The choice of a coding: slow links make coding worth its while, fast ones do not."""

from __future__ import annotations

from gpupool_wire.coding.choice import Choice, Method

IMAGES = (Method.PALETTE, Method.PALETTE_ZSTD, Method.SHUFFLE_ZSTD)


def link_ns(gbit_per_s: float) -> float:
    return 8 / gbit_per_s


def test_the_slower_the_link_the_more_is_done() -> None:
    assert Choice().best(IMAGES, link_ns(100)) is Method.RAW
    assert Choice().best(IMAGES, link_ns(8)) is Method.PALETTE
    assert Choice().best(IMAGES, link_ns(0.1)) is Method.PALETTE_ZSTD


def test_a_method_that_proves_slow_here_is_not_chosen_any_more() -> None:
    choice = Choice()
    for _ in range(30):
        choice.measured(Method.PALETTE_ZSTD, 1_000_000, 100_000, 50_000_000)
    assert choice.best(IMAGES, link_ns(1)) is Method.PALETTE


def test_what_once_did_badly_is_tried_again_some_time() -> None:
    choice = Choice()
    for _ in range(5):
        choice.measured(Method.ZSTD, 1_000_000, 1_000_000, 2_000_000)
    tries = [choice.best([Method.ZSTD], link_ns(1)) for _ in range(200)]
    assert tries[0] is Method.RAW
    assert tries[-1] is Method.ZSTD


def test_nothing_to_choose_from_is_raw() -> None:
    assert Choice().best((), 1e6) is Method.RAW
