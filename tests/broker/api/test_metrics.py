"""What a scrape says of a pool: allocated, used, promised and had, what waits, what was lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gpupool_broker.api.metrics import render
from gpupool_broker.core import facts as f
from gpupool_broker.tally import Tally
from gpupool_wire.messages import SliceUse

MIB = 1 << 20


class Scrape(dict[str, float]):
    """Series by name and labels, without the prefix."""

    def __init__(self, text: str) -> None:
        super().__init__((name, float(value)) for name, value in re.findall(r"^gpupool_(\S+) (\S+)$", text, re.MULTILINE))


@pytest.fixture
def scrape(driver) -> Iterator[object]:
    tally, seen = Tally(), 0

    def take() -> Scrape:
        nonlocal seen
        tally.take(driver.journal[seen:], driver.pool)
        seen = len(driver.journal)
        return Scrape(render(driver.pool, tally, driver.stamp()["at_ms"]))

    return take


def test_the_pool_its_devices_and_tenants(driver, scrape, slice_granted) -> None:
    driver.join(devices=2, memory_mib=8192)
    driver.quota("t", compute=150)
    slice_id = slice_granted(driver.request(40, 1024))
    driver.wait(1_000)
    driver.beat(
        use=[
            SliceUse(
                slice_id=slice_id,
                epoch=1,
                device_ns=5 * 10**9,
                throttled_ns=10**9,
                calls=1,
                memory_bytes=77,
                achieved_millipct=30_000,
            )
        ]
    )
    found = scrape()
    assert (found["pool_compute_percent"], found["pool_compute_allocated_percent"]) == (200, 40)
    assert (found["pool_compute_achieved_percent"], found["pool_memory_allocated_bytes"]) == (30, 1024 * MIB)
    assert found['tenant_compute_allocated_percent{tenant="t"}'] == 40
    assert found['tenant_compute_achieved_percent{tenant="t"}'] == 30
    assert found['tenant_compute_limit_percent{tenant="t"}'] == 150
    assert 'tenant_memory_limit_bytes{tenant="t"}' not in found
    labels = f'{{device="node-1/cpu0",slice="{slice_id}",tenant="t"}}'
    assert found["slice_compute_granted_ratio" + labels] == 0.4
    assert found["slice_compute_achieved_ratio" + labels] == 0.3
    assert found["slice_device_seconds_total" + labels] == 5
    assert found["slice_throttled_seconds_total" + labels] == 1
    assert found["slice_memory_granted_bytes" + labels] == 1024 * MIB
    assert found["slice_memory_used_bytes" + labels] == 77


def test_what_waits(driver, scrape) -> None:
    driver.join()
    driver.request(100, 1)
    assert scrape()["request_longest_wait_seconds"] == 0
    driver.request(100, 1, tenant="u", wait_ms=60_000)
    driver.wait(3_000)
    found = scrape()
    assert (found["requests_waiting"], found['tenant_requests_waiting{tenant="u"}']) == (1, 1)
    assert found["request_longest_wait_seconds"] == 3


def test_what_was_granted_lost_and_stranded(driver, scrape, slice_granted) -> None:
    driver.join()
    driver.release(slice_granted(driver.request(10, 1)))
    slice_granted(driver.request(10, 1))
    driver.wait(60_000)
    found = scrape()
    assert found['slices_granted_total{tenant="t"}'] == 2
    assert found['slices_ended_total{how="released",tenant="t"}'] == 1
    assert found["nodes_lost_total"] == 1
    assert found['slices_stranded_total{tenant="t"}'] == 1
    assert found["pool_compute_percent"] == 0
    lost = sum(isinstance(fact, f.SliceEnded) and fact.how == "lost" for fact in driver.journal)
    assert found.get('slices_ended_total{how="lost",tenant="t"}', 0) == lost
