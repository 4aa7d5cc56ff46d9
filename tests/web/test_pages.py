"""Every page for every role that may see it: drawn without complaint, without serious findings of axe, in both appearances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpupool_web.pages.navigation import ADMIN, FINANCE, TENANT
from tests.web.conftest import BROWSER, WAIT_MS, Pages

pytestmark = BROWSER
PATHS = ("/", "/devices", "/slices", "/queue", "/tenants")
SCRIPT = "<script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def filled(pages: Pages) -> dict[str, str]:
    """Put something on every page; return the slices' ids and the roles' tokens."""
    acme = pages.token(TENANT, "acme")
    found = {ADMIN: pages.admin, FINANCE: pages.token(FINANCE), TENANT: acme}
    found["mine"] = pages.slice(acme, compute=30, label=SCRIPT, policy="burst", project="prod")
    found["theirs"] = pages.slice(pages.token(TENANT, "beta"), compute=20)
    pages.rest("PUT", "/quotas/acme", {"compute": 30, "guaranteed_compute": 20})
    pages.rest("PUT", "/quotas/acme/projects/prod", {"compute": 30})
    return found


@pytest.fixture(scope="module")
def seen(filled: dict[str, str], visitor: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """One browser's page for each role, kept open."""
    opened = {role: visitor(filled[role]) for role in (ADMIN, FINANCE, TENANT)}
    yield opened
    for page in opened.values():
        page.context.close()


def go(page: Any, pages: Pages, path: str) -> str:
    """Open a page and return its text once its figures are there."""
    page.goto(pages.http + path)
    page.wait_for_selector("main h1", timeout=WAIT_MS)
    page.wait_for_function("document.querySelectorAll('main table, main .gp-device, main .gp-tile, main p').length > 0")
    return str(page.inner_text("main"))


@pytest.mark.parametrize("role", [ADMIN, FINANCE, TENANT])
def test_every_page_shows_a_role_what_it_may_see(pages: Pages, seen: dict[str, Any], filled: dict[str, str], role: str) -> None:
    pages.complaints.clear()
    texts = {path: go(seen[role], pages, path) for path in (*PATHS, "/nodes/" + _node(pages), f"/slices/{filled['mine']}")}
    whole = "\n".join(texts.values())
    assert ("beta" in whole) is (role != TENANT)
    assert ("Set a quota" in texts["/tenants"]) is (role == ADMIN)
    assert seen[role].get_by_role("button", name="Release").count() == (role != FINANCE)
    assert SCRIPT in texts["/slices"]
    assert seen[role].title() != "owned"
    assert pages.complaints == []


def test_another_tenants_slice_is_not_there(pages: Pages, seen: dict[str, Any], filled: dict[str, str]) -> None:
    page = seen[TENANT]
    page.goto(f"{pages.http}/slices/{filled['theirs']}")
    page.wait_for_selector(f"text=there is no slice {filled['theirs']}", timeout=WAIT_MS)
    assert "beta" not in page.inner_text("body")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(pages: Pages, seen: dict[str, Any], filled: dict[str, str], scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page, findings = seen[ADMIN], []
    page.emulate_media(color_scheme=scheme)
    for path in (*PATHS, "/reports", "/nodes/" + _node(pages), f"/slices/{filled['mine']}"):
        go(page, pages, path)
        for found in Axe().run(page).response["violations"]:
            if found["impact"] in ("serious", "critical"):
                findings += [f"{path} {scheme} {found['id']}: {node['html'][:160]}" for node in found["nodes"][:3]]
    assert findings == []


def test_a_slice_comes_and_goes_without_reload(pages: Pages, seen: dict[str, Any]) -> None:
    page = seen[ADMIN]
    go(page, pages, "/slices")
    made = pages.slice(label="fresh")
    page.wait_for_selector(f"text={made}", timeout=WAIT_MS)
    pages.rest("DELETE", f"/slices/{made}")
    page.wait_for_selector(f"text={made}", state="detached", timeout=WAIT_MS)


def test_slices_are_found_and_put_in_order(pages: Pages, seen: dict[str, Any], filled: dict[str, str]) -> None:
    page = seen[ADMIN]
    go(page, pages, "/slices")
    page.get_by_role("button", name="Promised").press("Enter")
    page.wait_for_selector('th[aria-sort="descending"]:has-text("Promised")', timeout=WAIT_MS)
    assert filled["mine"] in page.locator("tbody tr").first.inner_text()
    page.get_by_label("Search").fill("beta")
    page.wait_for_function("document.querySelectorAll('main tbody tr').length === 1", timeout=WAIT_MS)
    assert filled["theirs"] in page.inner_text("main tbody")


def test_the_language_is_switched_and_remembered(pages: Pages, seen: dict[str, Any]) -> None:
    page = seen[FINANCE]
    go(page, pages, "/")
    page.get_by_label("Language").click()
    page.get_by_role("option", name="简体中文").click()
    page.wait_for_selector("h1:has-text('概览')", timeout=WAIT_MS)
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.title() == "gpupool · 概览"
    assert "租户与配额" in go(page, pages, "/tenants")


def test_a_browser_that_asks_for_chinese_gets_it_in_its_own_zone(
    pages: Pages, filled: dict[str, str], visitor: Callable[..., Any]
) -> None:
    page = visitor(filled[ADMIN], f"/slices/{filled['mine']}", locale="zh-CN", timezone_id="Asia/Shanghai")
    page.wait_for_selector("text=经历", timeout=WAIT_MS)
    at = pages.rest("GET", f"/slices/{filled['mine']}")["story"][0]["at"]
    hour = (int(at[11:13]) + 8) % 24
    assert page.locator("main li time").last.inner_text().startswith(f"{hour:02}:")
    page.context.close()


def test_dark_is_chosen_and_stays(pages: Pages, seen: dict[str, Any]) -> None:
    page = seen[TENANT]
    go(page, pages, "/")
    page.get_by_label("Appearance").click()
    page.get_by_role("option", name="Dark").click()
    page.wait_for_selector("body.body--dark", timeout=WAIT_MS)
    go(page, pages, "/queue")
    assert page.locator("body.body--dark").count() == 1


def test_all_is_reached_by_keyboard(pages: Pages, seen: dict[str, Any]) -> None:
    page = seen[ADMIN]
    go(page, pages, "/")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent.trim()"))
    assert reached >= {"Devices", "Slices", "Queue", "Tenants & quotas", "Reports"}


def test_a_broker_that_restarts_is_told_and_so_is_its_return(pages: Pages, seen: dict[str, Any]) -> None:
    page = seen[ADMIN]
    go(page, pages, "/")
    pages.stop_broker()
    page.wait_for_selector('[role="alert"]:has-text("The broker does not answer")', timeout=WAIT_MS)
    assert "Compute allocated" in page.inner_text("main")
    pages.start_broker()
    page.wait_for_selector("text=The broker answers again.", timeout=WAIT_MS)
    page.wait_for_selector('[role="alert"]', state="detached", timeout=WAIT_MS)
    page.wait_for_selector(".gp-pulse:has-text('Live')", timeout=WAIT_MS)


def test_a_browser_that_slept_draws_itself_anew(pages: Pages, seen: dict[str, Any]) -> None:
    page = seen[ADMIN]
    go(page, pages, "/slices")
    # What a long sleep does: the connection is gone, and the server has forgotten the page.
    page.evaluate("window.socket.io.engine.close()")
    page.evaluate("window.clientId = 'forgotten'; window.socket.io.opts.query.client_id = 'forgotten'")
    with page.expect_navigation(timeout=WAIT_MS):
        pass
    made = pages.slice(label="after")
    page.wait_for_selector(f"text={made}", timeout=WAIT_MS)


def test_nothing_comes_from_elsewhere(pages: Pages, seen: dict[str, Any]) -> None:
    go(seen[ADMIN], pages, "/")
    assert pages.origins <= {pages.http, pages.http.replace("http", "ws")}


def _node(pages: Pages) -> str:
    return str(pages.rest("GET", "/nodes")[0]["node"])
