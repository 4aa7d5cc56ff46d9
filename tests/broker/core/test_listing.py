"""Parts of long lists: words, states, order, and how many there are in all."""

from __future__ import annotations

import pytest

from gpupool_broker.core.listing import Part, devices_of, slices_of
from gpupool_wire.errors import UsageError

ANYWHERE = ("", "")


@pytest.fixture
def filled(driver, slice_granted):
    driver.join("node-1", devices=2)
    driver.join("node-2", devices=1)
    for compute, tenant in ((10, "acme"), (30, "acme"), (20, "beta"), (40, "<b>")):
        slice_granted(driver.request(compute, 512, tenant=tenant))
    return driver


def sizes(driver, part: Part, state: str = "live", tenant: str | None = None) -> list[int]:
    return [slice_.compute_pct for slice_ in slices_of(driver.pool, part, state, tenant, ANYWHERE)[0]]


def test_rows_come_in_order_a_part_at_a_time(filled) -> None:
    assert sizes(filled, Part(sort="-compute", limit=2)) == [40, 30]
    assert sizes(filled, Part(sort="compute", offset=1, limit=2)) == [20, 30]
    assert slices_of(filled.pool, Part(limit=1), "live", None, ANYWHERE)[1] == 4


def test_words_are_all_looked_for_and_case_does_not_matter(filled) -> None:
    assert sorted(sizes(filled, Part(words="ACME"))) == [10, 30]
    assert sizes(filled, Part(words="acme <b>")) == []
    assert sizes(filled, Part(words="<B>")) == [40]


def test_states_and_tenants_are_told_apart(filled) -> None:
    first = next(iter(filled.pool.slices))
    filled.release(first, tenant="acme")
    assert sizes(filled, Part(), "ended") == [10]
    assert len(sizes(filled, Part(), "all")) == 4
    assert sizes(filled, Part(), "live", "acme") == [30]
    assert sizes(filled, Part(), "paused") == sizes(filled, Part(), "starving") == []


def test_devices_by_node_and_by_what_is_left(filled) -> None:
    rows, total = devices_of(filled.pool, Part(words="node-1"), "", "")
    assert (total, {node.node for node, _ in rows}) == (2, {"node-1"})
    busiest = devices_of(filled.pool, Part(sort="-compute", limit=1), "up", "")[0][0][1]
    assert busiest.compute_free_pct == min(device.compute_free_pct for _, device in devices_of(filled.pool, Part(), "", "")[0])
    filled.cordon("node-2")
    assert [node.node for node, _ in devices_of(filled.pool, Part(), "away", "")[0]] == ["node-2"]


def test_an_order_that_is_not_there_is_refused(filled) -> None:
    with pytest.raises(UsageError, match="there is no order by 'beauty'; there are: slice, tenant"):
        slices_of(filled.pool, Part(sort="-beauty"), "live", None, ANYWHERE)
