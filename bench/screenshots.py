"""Takes the pictures of docs/images anew: every page of a played pool, light and dark, in real Chromium.

python -m bench.screenshots [FOLDER]

Devices are null devices and what they use is made up (bench/programs/played_nodes.py): the pictures show pages, not a machine.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
import urllib.error
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from bench.month_facts import Month
from bench.played_pool import PlayedPool, played_pool
from gpupool_broker.core import facts as f
from gpupool_broker.core.accounting.calendar import period_of
from gpupool_broker.store.databases import sqlite_url
from gpupool_broker.store.sql import SqlStore

FLAGS = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb", "--disable-background-networking"]
SIZE = {"width": 1440, "height": 900}
NODES, DEVICES, SLICES = 12, 4, 130
LAST_MONTH = f"{datetime.now(UTC).date().replace(day=1) - timedelta(days=1):%Y-%m}"
#: How long the pool is left alone, so that its charts have something to show.
WARM_S = 75.0


def busy(pool: PlayedPool) -> dict[str, str]:
    """Fill the pool, set quotas, let somebody wait; return the pages to be pictured, by name."""
    pool.fill(SLICES)
    for tenant, guaranteed, limit in (
        ("acme", 800, 1600),
        ("blue-river", 600, 1000),
        ("cobalt", 300, 500),
        ("delta-labs", 200, 220),
    ):
        body = {"compute": limit, "guaranteed_compute": guaranteed, "memory": f"{limit * 8}GiB"}
        pool.rest("PUT", f"/quotas/{tenant}", body)
    pool.rest("PUT", "/quotas/acme/projects/prod", {"compute": 900, "guaranteed_compute": 500})
    for tenant, gpus in (("granite", 2), ("fjord", 4), ("harbour", 8)):
        _let_wait(pool, pool.token("tenant", tenant), gpus)
    pool.rest("POST", "/nodes/node-0005/cordon")
    for name, role, tenant in (
        ("ada", "admin", ""),
        ("fiona", "finance", ""),
        ("wei", "tenant", "acme"),
        ("tom", "tenant", "cobalt"),
    ):
        pool.rest("POST", "/users", {"name": name, "role": role, "tenant": tenant})
    pool.rest("PATCH", "/users/tom", {"disabled": True})
    largest = pool.rest("GET", "/slices?sort=-compute&limit=1")[0]["slice_id"]
    return {
        "overview": "/",
        "devices": "/devices",
        "node": "/nodes/node-0001",
        "slices": "/slices",
        "slice": f"/slices/{largest}",
        "queue": "/queue",
        "tenants": "/tenants",
        "audit": "/audit",
        "users": "/users",
        "settings": "/settings",
        "sign-in": "/sign-in",
    }


def _let_wait(pool: PlayedPool, token: str, gpus: int) -> None:
    def ask() -> None:
        body = {"compute": 100, "memory": "64GiB", "kind": "null", "gpus": gpus, "wait_s": 600, "label": "training"}
        try:
            pool.rest("POST", "/slices", body, token)
        except (urllib.error.URLError, OSError):
            # The pool stops before anybody's turn comes.
            return

    threading.Thread(target=ask, daemon=True).start()


def picture(browser: Browser, pool: PlayedPool, state: Any, name: str, path: str, folder: Path, scheme: Any) -> None:
    """Take one page's picture in one appearance."""
    stays = None if name == "sign-in" else state
    context = browser.new_context(viewport=SIZE, color_scheme=scheme, storage_state=stays)  # type: ignore[arg-type]
    page: Page = context.new_page()
    page.goto(pool.http + path)
    page.wait_for_selector("h1")
    if name == "queue":
        page.get_by_label("Kind of device").fill("null")
        page.get_by_role("button", name="Explain", exact=True).last.click()
        page.wait_for_selector("text=would")
    if name == "reports":
        page.wait_for_selector("canvas", timeout=60_000)
    page.wait_for_timeout(1_200)
    page.screenshot(path=folder / f"{name}-{scheme}.png")
    context.close()


def journal_of_a_month(home: Path) -> None:
    """Leave a broker the journal of last month, with prices: what its report is made of."""
    period = period_of(LAST_MONTH)
    price = f.PriceSet(
        at_ms=period.start_ms,
        by="admin",
        valid_from="2020-01-01",
        currency="EUR",
        reserved_pct_hour="0.0213",
        memory_gib_hour="0.0011",
        used_hour="0.7",
        burst_hour="0.3",
        energy_kwh="0.31",
    )
    (home / "broker").mkdir()
    store = SqlStore(sqlite_url(home / "broker" / "broker.sqlite"))
    store.append([price, *Month(period, tenants=9, devices=6, seed=3).facts()])
    store.close()


def signed_in(browser: Browser, pool: PlayedPool) -> Any:
    """Return what a browser keeps once the admin is signed in."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(pool.sign_in)
    page.wait_for_selector("nav a[aria-current]")
    state = context.storage_state()
    context.close()
    return state


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/images"))
    parser.add_argument("--warm", type=float, default=WARM_S)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        with played_pool(NODES, DEVICES) as pool:
            pages = busy(pool)
            state = signed_in(browser, pool)
            time.sleep(arguments.warm)
            for name, path in pages.items():
                for scheme in ("light", "dark"):
                    picture(browser, pool, state, name, path, arguments.folder, scheme)
            # A broker lets those who wait for an answer have it before it ends.
            for waiting in pool.rest("GET", "/queue"):
                pool.rest("DELETE", f"/queue/{waiting['request_id']}")
        with played_pool(1, 1, journal_of_a_month) as pool:
            state = signed_in(browser, pool)
            for scheme in ("light", "dark"):
                picture(browser, pool, state, "reports", f"/reports?period={LAST_MONTH}", arguments.folder, scheme)
        browser.close()


if __name__ == "__main__":
    main()
