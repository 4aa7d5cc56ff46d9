"""What would become of a request."""

from __future__ import annotations

from collections.abc import Callable

from gpupool_broker.core import events as e
from gpupool_broker.core.explain import what_if
from gpupool_broker.core.placement import Ask
from gpupool_broker.core.wants import Want

Granted = Callable[[list[e.Effect]], str]


def test_a_request_that_fits_is_told_where(driver) -> None:
    driver.join()
    told = what_if(driver.pool, Want(ask=Ask(compute_pct=30, memory_mib=1024), account="t"))
    assert (told.node, told.device, told.quota, told.changes) == ("node-1", "cpu0", "", [])
    assert told.devices[0].blocked_by == ""
    assert driver.pool.slices == {}


def test_each_device_names_the_dimension_that_blocks(driver, slice_granted: Granted) -> None:
    driver.join("node-1", memory_mib=2048, overhead_mib=100)
    slice_granted(driver.request(80, 500))
    driver.join("node-2", kind="null")
    driver.join("node-3", memory_mib=2048)
    driver.cordon("node-3")
    told = what_if(driver.pool, Want(ask=Ask(compute_pct=30, memory_mib=1500), account="t"))
    assert told.node is None
    assert {verdict.node: verdict.blocked_by for verdict in told.devices} == {
        "node-1": "10 % of compute are missing, 152 MiB of memory are missing",
        "node-2": "it is null m",
        "node-3": "its node takes nothing new",
    }


def test_what_would_admit_it_would(driver, slice_granted: Granted) -> None:
    driver.join(memory_mib=4096)
    small, large = slice_granted(driver.request(20, 512)), slice_granted(driver.request(60, 512, tenant="other"))
    told = what_if(driver.pool, Want(ask=Ask(compute_pct=40, memory_mib=1024), account="t"))
    assert told.changes == [
        "asking for 20 % of compute instead of 40 %",
        f"the end of {small} (t, 20 %) on cpu0 of node-1",
    ]
    whole = what_if(driver.pool, Want(ask=Ask(compute_pct=100, memory_mib=4096), account="t"))
    assert whole.changes == [f"the end of {large} (other, 60 %), {small} (t, 20 %) on cpu0 of node-1"]
    assert what_if(driver.pool, Want(ask=Ask(compute_pct=20, memory_mib=1024), account="t")).node == "node-1"
    driver.release(small)
    assert what_if(driver.pool, Want(ask=Ask(compute_pct=40, memory_mib=1024), account="t")).node == "node-1"


def test_a_quota_in_the_way_is_named(driver, slice_granted: Granted) -> None:
    driver.join()
    driver.quota(compute=30)
    told = what_if(driver.pool, Want(ask=Ask(compute_pct=40, memory_mib=1024), account="t"))
    assert (told.node, told.quota) == (None, told.message)
    assert "may hold 30 % of compute" in told.quota
    assert what_if(driver.pool, Want(ask=Ask(compute_pct=40, memory_mib=1024), account="another")).node == "node-1"
