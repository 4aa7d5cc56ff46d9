"""The page where one drops an image, in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
    # Playwright's driver leaves an event loop to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]


def test_a_dropped_page_shows_its_lines_and_a_bad_file_its_error(address: str, page: bytes, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    (tmp_path / "page.png").write_bytes(page)
    (tmp_path / "bad.png").write_bytes(b"hello")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page()
        troubles: list[str] = []
        elsewhere: list[str] = []
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on(
            "request",
            lambda request: elsewhere.append(request.url) if not request.url.startswith((address, "data:", "blob:")) else None,
        )
        tab.goto(address)
        tab.wait_for_function("document.getElementById('state').textContent === 'ready'")
        tab.set_input_files("#file", tmp_path / "page.png")
        line = tab.locator("#lines li").first
        line.wait_for()
        assert line.locator("div").inner_text() == "BANK427965"
        assert tab.evaluate("[canvas.width, canvas.height]") == [420, 400]
        assert "1 lines, 10 characters" in tab.locator("#summary").inner_text()
        assert "release 1" in tab.locator("#summary").inner_text()
        line.hover()
        assert "lit" in (line.get_attribute("class") or "")
        tab.get_by_role("button", name="Another page").click()
        tab.set_input_files("#file", tmp_path / "bad.png")
        tab.get_by_role("alert").wait_for()
        assert "bad.png is not an image" in tab.get_by_role("alert").inner_text()
        browser.close()
    assert troubles == []
    assert {url for url in elsewhere if not url.startswith((address, "data:", "blob:"))} == set()
