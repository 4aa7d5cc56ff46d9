"""Debian's Chromium on the pages of a service."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
BROWSED = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
    # Playwright's driver leaves an event loop to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]


@contextmanager
def browsing(address: str) -> Iterator[Any]:
    """A tab of a browser on a service; what its scripts complain of, or load from elsewhere, fails the test."""
    from playwright.sync_api import sync_playwright

    troubles: list[str] = []

    def note(request: Any) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            troubles.append(f"asked {request.url}")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="UTC")
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("request", note)
        yield tab
        browser.close()
    assert troubles == []


def axe_findings(tab: Any) -> list[str]:
    """Return what axe finds in the page as it is, in light and dark."""
    from axe_playwright_python.sync_playwright import Axe

    found: list[str] = []
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        for violation in Axe().run(tab).response["violations"]:
            found += [f"{scheme} {violation['id']}: {node['html'][:160]}" for node in violation["nodes"][:3]]
    return found
