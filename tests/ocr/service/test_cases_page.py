"""The page where bad cases are labelled, in a real browser, by keyboard and by mouse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpupool_ocr import samples
from gpupool_ocr.cases.store import CaseStore
from gpupool_ocr.pages import Image, load_pages
from gpupool_ocr.pipeline import Pipeline
from gpupool_ocr.plugins.fields import extract
from gpupool_ocr.service.parts import Parts
from tests.ocr.service.browsing import BROWSED, axe_findings, browsing

pytestmark = BROWSED


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def readings(pipeline: Pipeline) -> list[tuple[str, Image, dict[str, Any]]]:
    """A receipt and a ticket, read and understood."""
    found = []
    for path in samples.paths()[:2]:
        image = next(load_pages(path)).image
        lines = [
            {"polygon": line.quad.astype(int).tolist(), "text": line.text, "score": line.score}
            for line in pipeline.read(image).lines
        ]
        page = {"width": image.shape[1], "height": image.shape[0], "lines": lines, **extract({"lines": lines})}
        found.append((path.stem, image, page))
    return found


@pytest.fixture
def store(keeping_parts: Parts, readings: list[tuple[str, Image, dict[str, Any]]]) -> Iterator[CaseStore]:
    """Three pages of the tenant shop, the newest first: a ticket, a receipt, and a failure."""
    store, now = keeping_parts.keeper.store, time.time() - 100
    failed = {"error": {"code": "plugin", "message": "the plug-in hung"}}
    store.add("failed", None, failed, reason="failed", business="acme", now=now, tenant="shop")
    for number, (name, image, page) in enumerate(readings, 1):
        about: dict[str, Any] = {"business": "acme", "tenant": "shop", "trace": "4bf92f3577b34da6a3ce929d0e0e4736"}
        store.add(name, image, page, reason="low_confidence", now=now + number, **about)
    yield store
    for case in store.list():
        store.remove(case.id)


@pytest.fixture
def tab(keeping_address: str, store: CaseStore) -> Iterator[Any]:
    with browsing(keeping_address) as tab:
        tab.goto(f"{keeping_address}/cases")
        tab.get_by_label("Key").fill("shop")
        tab.get_by_label("Key").press("Tab")
        tab.locator("#cases button").nth(2).wait_for()
        yield tab


def test_pages_are_labelled_by_keyboard_one_after_the_other(tab: Any, store: CaseStore) -> None:
    first, second, _ = [case.id for case in store.list()]
    tab.locator("#cases img").nth(1).wait_for()  # both have a thumbnail
    tab.locator("#cases button").first.press("Enter")
    line = tab.get_by_label("Line 1", exact=True)
    line.wait_for()
    assert line.evaluate("element => element === document.activeElement")
    line.press("Enter")
    assert tab.get_by_label("Line 2", exact=True).evaluate("element => element === document.activeElement")
    line.fill("as it stands there")
    line.press("Control+Enter")
    tab.locator("#about").get_by_text(f"case {second} ").wait_for()
    assert store.get(first).status == "labelled"
    labels = store.get(first).labels or {}
    assert labels["lines"][0]["text"] == "as it stands there"
    assert labels["lines"][1]["text"] == store.get(first).result["lines"][1]["text"]
    read = store.get(first).result["fields"]
    assert labels["fields"] == {name: field["normalised"] for name, field in read.items()}
    assert tab.locator("#cases button").count() == 2
    tab.keyboard.press("Alt+ArrowDown")
    tab.get_by_text("the plug-in hung").wait_for()


def test_boxes_are_drawn_moved_and_removed(tab: Any, store: CaseStore) -> None:
    first = store.list()[0]
    count = len(first.result["lines"])
    tab.locator("#cases button").first.click()
    tab.get_by_label("Line 1", exact=True).wait_for()
    tab.get_by_label("Remove line 1", exact=True).click()
    assert tab.locator("#lines li").count() == count - 1
    canvas = tab.locator("#canvas")
    around = canvas.bounding_box()
    tab.mouse.move(around["x"] + 2, around["y"] + 2)
    tab.mouse.down()
    tab.mouse.move(around["x"] + 60, around["y"] + 12)
    tab.mouse.up()
    added = tab.get_by_label(f"Line {count}", exact=True)
    added.fill("drawn by hand")
    canvas.press("ArrowRight")
    canvas.press("Shift+ArrowDown")
    tab.get_by_label("Another field").fill("stamp")
    tab.get_by_label("Another field").press("Enter")
    tab.get_by_label("stamp", exact=True).fill("paid")
    tab.get_by_role("button", name="Save and next").click()
    eventually(lambda: store.get(first.id).status == "labelled")
    labels = store.get(first.id).labels or {}
    assert [line["text"] for line in labels["lines"]] == [line["text"] for line in first.result["lines"][1:]] + ["drawn by hand"]
    assert labels["fields"].items() >= {"stamp": "paid"}.items()
    (left, top), (right, _), (_, bottom), _ = labels["lines"][-1]["polygon"]
    scale = first.result["width"] / around["width"]
    assert (left, right) == pytest.approx((1 + 2 * scale, 1 + 60 * scale), abs=2)
    assert (top, bottom) == pytest.approx((2 * scale, 1 + 12 * scale), abs=2)


def test_what_is_not_saved_is_asked_about_and_a_page_can_be_deleted(tab: Any, store: CaseStore) -> None:
    first, second, _ = [case.id for case in store.list()]
    asked: list[str] = []
    tab.on(
        "dialog",
        lambda dialog: (asked.append(dialog.message), dialog.accept() if "Delete" in dialog.message else dialog.dismiss()),
    )
    tab.locator("#cases button").first.click()
    tab.get_by_label("Line 1", exact=True).fill("changed")
    tab.get_by_role("button", name="Next", exact=True).click()
    assert asked == ["Leave this page without saving what you changed?"]
    assert first in tab.inner_text("#about")
    tab.get_by_role("button", name="Delete").click()
    tab.locator("#about").get_by_text(f"case {second} ").wait_for()
    assert [case.id for case in store.list()] == [second, "failed"]


def test_lists_are_filtered_and_what_the_service_says_is_shown(tab: Any, store: CaseStore) -> None:
    tab.get_by_label("Reason").select_option("failed")
    tab.locator("#cases li").nth(1).wait_for(state="detached")
    tab.get_by_label("Status").select_option("labelled")
    tab.get_by_text("no pages here").wait_for()
    tab.get_by_label("Key").fill("nobody's")
    tab.get_by_label("Key").press("Tab")
    tab.get_by_role("alert").get_by_text("A key is needed").wait_for()


def test_the_box_of_the_line_that_is_typed_is_in_sight(tab: Any) -> None:
    tab.locator("#cases button").nth(1).click()  # the receipt is taller than the window
    last = tab.locator("#lines li").last.locator("input")
    last.wait_for()
    assert tab.evaluate("page.scrollTop") == 0
    last.focus()
    assert tab.evaluate("page.scrollTop") > 0
    tab.get_by_label("Line 1", exact=True).focus()
    assert tab.evaluate("page.scrollTop") < 100


def test_axe_finds_nothing(tab: Any) -> None:
    assert axe_findings(tab) == []
    tab.locator("#cases button").first.click()
    tab.get_by_label("Line 1", exact=True).wait_for()
    assert axe_findings(tab) == []
