"""The main journeys through the pages: a quota refuses and then lets in, a slice gets another size, two admins set one quota."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpupool_web.pages.navigation import TENANT
from tests.web.conftest import BROWSER, WAIT_MS, Pages

pytestmark = BROWSER


@pytest.fixture(scope="module")
def page(pages: Pages, visitor: Callable[..., Any]) -> Iterator[Any]:
    """An admin's page."""
    opened = visitor(pages.admin)
    yield opened
    opened.context.close()


def edit_quota(page: Any, pages: Pages, account: str, compute: int) -> None:
    """Open the editor of an account's quota and put in a limit."""
    page.goto(f"{pages.http}/tenants")
    page.get_by_role("button", name=f"Edit the quota of {account}").click(timeout=WAIT_MS)
    page.get_by_label("Compute limit").fill(str(compute))


def test_a_quota_is_set_refuses_is_raised_and_lets_in(pages: Pages, page: Any) -> None:
    acme = pages.token(TENANT, "acme")
    pages.slice(acme, compute=20)
    edit_quota(page, pages, "acme", 10)
    page.get_by_role("button", name="Show the effect").click()
    page.wait_for_selector("text=acme would be over: compute 20 % of 10 %", timeout=WAIT_MS)
    page.get_by_label("Compute limit").fill("25")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("text=The quota is set.", timeout=WAIT_MS)
    with pytest.raises(urllib.error.HTTPError) as refused:
        pages.slice(acme, compute=10)
    assert b"may hold 25 % of compute and holds 20 %" in refused.value.read()
    edit_quota(page, pages, "acme", 50)
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("tr:has-text('acme'):has-text('50 %')", timeout=WAIT_MS)
    assert pages.slice(acme, compute=10)


def test_the_second_of_two_admins_is_told(pages: Pages, page: Any) -> None:
    pages.slice(pages.token(TENANT, "beta"), compute=5)
    edit_quota(page, pages, "beta", 40)
    pages.rest("PUT", "/quotas/beta", {"compute": 60})
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("text=Another admin changed this quota meanwhile.", timeout=WAIT_MS)
    beta = next(row for row in pages.rest("GET", "/tenants") if row["tenant"] == "beta")
    assert beta["quota"]["compute_pct"] == 60


def test_a_running_slice_gets_another_size_pauses_and_is_released(pages: Pages, page: Any) -> None:
    made = pages.slice(compute=10)
    page.goto(f"{pages.http}/slices/{made}")
    page.get_by_role("slider", name="Compute in per cent").locator(".q-slider__track-container").focus(timeout=WAIT_MS)
    for pct in range(11, 16):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f"text=Compute: {pct} %", timeout=WAIT_MS)
    page.get_by_role("button", name="Resize").click()
    page.wait_for_selector("text=resized to 15 % and 256 MiB", timeout=WAIT_MS)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click(timeout=WAIT_MS)
    page.get_by_role("button", name="Release").click(timeout=WAIT_MS)
    page.get_by_role("dialog").get_by_role("button", name="Release").click(timeout=WAIT_MS)
    page.wait_for_selector("h1:has-text('" + made + "') + .gp-badge:has-text('released')", timeout=WAIT_MS)
    assert pages.rest("GET", f"/slices/{made}")["state"] == "released"


def test_what_if_says_where_it_would_go_and_what_blocks_it(pages: Pages, page: Any) -> None:
    page.goto(f"{pages.http}/queue")
    page.get_by_label("Kind of device").fill("null", timeout=WAIT_MS)
    page.get_by_role("button", name="Explain").last.click()
    page.wait_for_selector("text=would be granted", timeout=WAIT_MS)
    page.get_by_role("spinbutton", name="Devices").fill("40")
    page.get_by_role("button", name="Explain").last.click()
    page.wait_for_selector("text=would not be granted now", timeout=WAIT_MS)
    page.get_by_label("Memory").fill("lots")
    page.get_by_role("button", name="Explain").last.click()
    page.wait_for_selector("text=is not understood", timeout=WAIT_MS)


def test_a_node_is_drained_once_it_was_meant_and_comes_back(pages: Pages, page: Any) -> None:
    node = pages.rest("GET", "/nodes")[0]["node"]
    page.goto(f"{pages.http}/nodes/{node}")
    page.get_by_role("button", name="Drain").click(timeout=WAIT_MS)
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click(timeout=WAIT_MS)
    assert pages.rest("GET", "/nodes")[0]["state"] == "up"
    page.get_by_role("button", name="Cordon").click(timeout=WAIT_MS)
    page.get_by_role("button", name="Put back into service").click(timeout=WAIT_MS)
    page.get_by_role("button", name="Cordon").wait_for(timeout=WAIT_MS)
    assert pages.rest("GET", "/nodes")[0]["state"] == "up"
    assert pages.complaints == []
