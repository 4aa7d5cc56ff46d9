"""How quick the pages are with a large pool, in real Chromium: first paint, and from a change in the pool to the screen.

python -m bench.pages [--nodes 1000] [--slices 10000] [--rounds 5]

First paint: from asking for an address to the first frame that shows the page's figures (the browser's own clock). Update: from
the broker's answer to a change (a slice granted, over REST) to the first frame in which the browser shows it. Nodes are played
(null devices, bench/programs/played_nodes.py) and tell what their slices use once a second, as agents do.
"""

from __future__ import annotations

import argparse
import platform
import random
import shutil
import time
from datetime import UTC, datetime
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

from bench.played_pool import PlayedPool, played_pool

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
#: A page, and what is on it only once its figures are.
PAGES = {
    "/": ".gp-tile-text",
    "/devices": ".gp-device",
    "/slices": "main tbody tr",
    "/queue": "main table, main .gp-quiet",
    "/tenants": "main tbody tr",
}
TARGET_PAINT_MS, TARGET_UPDATE_MS = 2_000, 300


def paint_ms(page: Page, pool: PlayedPool, path: str, selector: str) -> float:
    """Open a page; return the milliseconds until a frame shows its figures."""
    # Looked for in every frame, from before the page's own scripts on; navigation start is zero.
    page.goto("about:blank")
    page.goto(pool.http + path, wait_until="commit")
    found: float = page.evaluate(
        """selector => new Promise(done => {
            const look = () => document.querySelector(selector)
                ? requestAnimationFrame(() => done(performance.now())) : requestAnimationFrame(look);
            look();
        })""",
        selector,
    )
    return found


def update_ms(page: Page, pool: PlayedPool, number: int) -> float:
    """Have a slice granted and shown; return the milliseconds from the broker's answer to the frame that shows it."""
    label = f"update-{number}-{time.monotonic_ns()}"
    page.evaluate(
        """label => { window.shownAt = new Promise(done => {
            const look = () => document.querySelector('main').innerText.includes(label)
                ? requestAnimationFrame(() => done(Date.now())) : requestAnimationFrame(look);
            look();
        }); }""",
        label,
    )
    body = {"compute": 1, "memory": 64, "kind": "null", "label": label}
    made = pool.rest("POST", "/slices", body)["slice_id"]
    answered = time.time() * 1000
    shown: float = page.evaluate("window.shownAt")
    pool.rest("DELETE", f"/slices/{made}")
    return shown - answered


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--slices", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.processor() or platform.machine()}, {psutil.cpu_count()} cores")
    with played_pool(asked.nodes, asked.devices) as pool, sync_playwright() as playwright:
        started = time.monotonic()
        pool.fill(asked.slices)
        totals = pool.rest("GET", "/overview")["totals"]
        filled = f"{totals['nodes_up']} nodes, {totals['devices_up']} devices, {totals['slices']} slices"
        print(f"{filled}, filled in {time.monotonic() - started:.0f} s", flush=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.goto(pool.sign_in)
        page.wait_for_selector("main h1", timeout=60_000)
        for path, selector in PAGES.items():
            _show(f"first paint of {path}", [paint_ms(page, pool, path, selector) for _ in range(asked.rounds)], TARGET_PAINT_MS)
        page.goto(f"{pool.http}/slices")
        page.wait_for_selector("main tbody tr")
        page.wait_for_timeout(1_000)
        rng, took = random.Random(7), []
        for number in range(8 * asked.rounds):
            # Changes come when they come: at no fixed time after the page's last look at the pool.
            page.wait_for_timeout(rng.uniform(200, 1_400))
            took.append(update_ms(page, pool, number))
        _show("change to screen", took, TARGET_UPDATE_MS)
        _rest(pool, asked.rounds)
        browser.close()


def _rest(pool: PlayedPool, rounds: int) -> None:
    """Print what one answer costs: pages are made of these."""
    for path in ("/overview", "/history", "/slices?limit=50&sort=-created", "/devices?limit=25&with_slices=true", "/tenants"):
        took: list[float] = []
        for _ in range(2 * rounds):
            begin = time.perf_counter()
            pool.rest("GET", path)
            took.append((time.perf_counter() - begin) * 1000)
        _show(f"REST {path}", took, None)


def _show(what: str, took: list[Any], target: int | None) -> None:
    row = sorted(took)
    against = "" if target is None else f"   ({'within' if row[-1] <= target else 'over'} {target} ms)"
    p90 = row[min(len(row) - 1, int(0.9 * len(row)))]
    print(f"  {what:42} median {row[len(row) // 2]:6.0f} ms, p90 {p90:6.0f} ms, worst {row[-1]:6.0f} ms{against}", flush=True)


if __name__ == "__main__":
    main()
