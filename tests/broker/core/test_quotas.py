"""Quotas: what tenants may hold, counted in the same turn as the grant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpupool_broker.core import events as e
from gpupool_broker.core.quotas import Quota
from gpupool_wire.errors import Conflict

Granted = Callable[[list[e.Effect]], str]
Refused = Callable[[list[e.Effect]], Exception]


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        ({"compute": 50}, "may hold 50 % of compute and holds 40 %; this asks for 40 % more"),
        ({"memory": 3_000}, "may hold 3000 MiB of memory and holds 2048 MiB; this asks for 2048 MiB more"),
        ({"slices": 1}, "may hold 1 of slices and holds 1; this asks for 1 more"),
    ],
)
def test_a_request_over_the_quota_is_refused_with_the_numbers(
    driver, slice_granted: Granted, refused: Refused, quota: dict[str, int], words: str
) -> None:
    driver.join(devices=2)
    driver.quota(**quota)
    first = slice_granted(driver.request(40, 2048))
    assert words in str(refused(driver.request(40, 2048)))
    slice_granted(driver.request(40, 2048, tenant="another"))
    driver.release(first)
    slice_granted(driver.request(40, 2048))


def test_growing_counts_and_shrinking_is_always_allowed(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    slice_id = slice_granted(driver.request(40, 2048))
    driver.quota(compute=30)
    assert driver.pool.quotas.over("t", driver.pool.quotas.limits["t"]) == ["compute 40 % of 30 %"]
    assert "may hold 30 %" in str(refused(driver.resize(slice_id, compute=41)))
    driver.resize(slice_id, compute=20)
    assert driver.pool.slices[slice_id].compute_pct == 20
    driver.resize(slice_id, compute=30)
    assert "asks for 1 % more" in str(refused(driver.resize(slice_id, compute=31)))


def test_who_waits_for_quota_keeps_nobody_waiting(driver, slice_granted: Granted) -> None:
    driver.join()
    driver.quota(slices=1)
    first = slice_granted(driver.request(10))
    assert driver.request(10, wait_ms=10_000) == []
    assert "may hold 1 of slices" in next(iter(driver.pool.waiting)).reason
    whole = slice_granted(driver.request(90, tenant="another"))
    assert driver.request(50, tenant="another", wait_ms=10_000) == []
    driver.beat()
    assert driver.wait(100) == []
    driver.release(whole, tenant="another")
    effects = driver.wait(0)
    assert driver.pool.slices[slice_granted(effects)].tenant == "another"
    driver.release(first)
    assert driver.pool.slices[slice_granted(driver.wait(0))].tenant == "t"


def test_what_no_release_can_admit_does_not_wait(driver, refused: Refused) -> None:
    driver.join()
    driver.quota(compute=10)
    assert "may hold 10 %" in str(refused(driver.request(20, wait_ms=60_000)))


def test_a_quota_that_was_changed_meanwhile_is_not_overwritten(driver, refused: Refused) -> None:
    driver.quota(compute=10, revision=0)
    driver.quota(compute=20, revision=1)
    error = refused(driver.quota(compute=30, revision=1))
    assert isinstance(error, Conflict)
    assert "revision 2, you saw 1" in str(error)
    assert driver.pool.quotas.limits["t"] == Quota(compute_pct=20, revision=2)
    assert driver.replayed().quotas.limits == driver.pool.quotas.limits


def test_a_stranded_slice_counts_still(driver, slice_granted: Granted, refused: Refused) -> None:
    driver.join()
    driver.quota(slices=1)
    slice_granted(driver.request(10))
    driver.wait(2_600)
    driver.join("node-2", kind="null")
    assert "may hold 1 of slices" in str(refused(driver.request(10, kind="null")))
