"""What a quota would do, before it is set."""

from __future__ import annotations

from gpupool_broker.core.quota_effect import effect_of
from gpupool_broker.core.quotas import Quota


def test_who_would_be_over_is_said_and_nothing_is_changed(driver, slice_granted) -> None:
    driver.join()
    slice_granted(driver.request(40, 2048))
    effect = effect_of(driver.pool, "t", Quota(compute_pct=30, memory_mib=1024))
    assert [(over.account, over.what) for over in effect.over] == [
        ("t", ["compute 40 % of 30 %", "memory 2048 MiB of 1024 MiB"]),
    ]
    assert driver.pool.quotas.limits == {}


def test_requests_that_would_pass_or_be_kept_out_are_counted(driver, slice_granted) -> None:
    driver.join()
    driver.quota(compute=50)
    slice_granted(driver.request(40, 1024))
    driver.request(30, 1024, wait_ms=60_000)
    assert effect_of(driver.pool, "t", Quota(compute_pct=70)).freed == 1
    driver.quota(compute=None)
    driver.request(90, 1024, wait_ms=60_000)
    assert effect_of(driver.pool, "t", Quota(compute_pct=80)).blocked == 1


def test_guarantees_are_weighed_against_what_there_is(driver) -> None:
    driver.join()
    driver.quota(guaranteed_pct=60)
    effect = effect_of(driver.pool, "another", Quota(guaranteed_pct=70))
    assert (effect.guaranteed_pct, effect.offered_pct, effect.borrowed_pct) == (130, 100, 0)
