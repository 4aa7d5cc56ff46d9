"""The page where versions are promoted and rolled back, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gpupool_ocr.plans.reading import read_snapshot
from gpupool_ocr.service.parts import Parts
from tests.ocr.service.browsing import BROWSED, axe_findings, browsing

pytestmark = BROWSED


@pytest.fixture
def tab(keeping_address: str, keeping_parts: Parts) -> Iterator[Any]:
    """The page of an administrator while a candidate with another recogniser's version gets 30 %."""
    first = read_snapshot(keeping_parts.rollouts.store.get(1).yaml)
    models = {**first.models, "recognition": msgspec.structs.replace(first.models["recognition"], version="next")}
    fresh = msgspec.structs.replace(first, models=models, note="another recogniser")
    keeping_parts.rollouts.apply(fresh, by="shop", percent=30)
    with browsing(keeping_address) as tab:
        tab.goto(f"{keeping_address}/versions")
        tab.get_by_label("Key").fill("shop")
        tab.get_by_label("Key").press("Tab")
        tab.locator("#history tbody tr").first.wait_for()
        yield tab
    keeping_parts.rollouts.roll_back(1)


def test_what_shall_be_is_shown_beside_what_is_alive(tab: Any, keeping_parts: Parts) -> None:
    number = keeping_parts.rollouts.store.desired().candidate
    assert tab.locator(".release.active").inner_text().startswith("active\nSnapshot 1")
    candidate = tab.locator(".release.candidate")
    assert "30 % of the documents" in candidate.inner_text()
    assert "100.00 % of the characters of 1 samples" in candidate.inner_text()
    assert candidate.locator("meter").get_attribute("value") == "30"
    alive = tab.locator("#alive tbody tr")
    assert keeping_parts.instance in alive.inner_text()
    alive.get_by_text(f"snapshot 1, snapshot {number}").wait_for()
    tab.get_by_role("status").get_by_text("as it shall be").wait_for()
    assert axe_findings(tab) == []


def test_a_candidate_is_promoted_and_rolled_back_after_a_question(tab: Any, keeping_parts: Parts) -> None:
    number = keeping_parts.rollouts.store.desired().candidate
    assert number is not None
    tab.get_by_role("button", name="Promote the candidate").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_text('~ models.recognition.version: "PP-OCRv6-small" → "next"').wait_for()
    assert axe_findings(tab) == []
    dialog.get_by_role("button", name="No").click()
    dialog.wait_for(state="hidden")
    assert keeping_parts.rollouts.store.desired().active == 1
    tab.get_by_role("button", name="Promote the candidate").press("Enter")
    dialog.get_by_role("button", name="Yes").press("Enter")
    tab.locator(".release.active").get_by_text(f"Snapshot {number}").wait_for()
    assert keeping_parts.rollouts.store.desired().active == number
    tab.get_by_role("button", name="Roll back").click()
    dialog.get_by_role("button", name="Yes").click()
    tab.locator(".release.active").get_by_text("Snapshot 1").wait_for()
    tab.get_by_role("button", name=f"Go to snapshot {number}").click()
    dialog.get_by_role("button", name="Yes").click()
    tab.locator(".release.active").get_by_text(f"Snapshot {number}").wait_for()


def test_a_candidate_is_dropped(tab: Any, keeping_parts: Parts) -> None:
    tab.get_by_role("button", name="Drop the candidate").click()
    tab.get_by_role("button", name="Yes").click()
    tab.locator(".release.candidate").wait_for(state="detached")
    assert keeping_parts.rollouts.store.desired().candidate is None


def test_whoever_is_no_administrator_is_told_so(tab: Any) -> None:
    tab.get_by_label("Key").fill("other")
    tab.get_by_label("Key").press("Tab")
    tab.get_by_role("alert").get_by_text("tenant 'other' is no administrator").wait_for()
