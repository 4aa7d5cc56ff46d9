"""Signing in and out in a real browser: password first, cookies no script reads, forged requests, another's address."""

from __future__ import annotations

import csv
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.access.provider import CLIENT, SECRET, SmallProvider, running_provider
from tests.web.conftest import BROWSER, WAIT_MS, Pages, launch

pytestmark = BROWSER
PASSWORD = "correct horse"


@pytest.fixture
def page(pages: Pages, browser: Any) -> Iterator[Any]:
    """A page of a browser that nobody has used."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    page = context.new_page()
    page.on("console", lambda message: pages.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: pages.complaints.append(str(error)))
    pages.complaints.clear()
    yield page
    context.close()


def user(pages: Pages, name: str, role: str = "admin", tenant: str = "") -> str:
    """Make a user; return its one-time password."""
    return str(pages.rest("POST", "/users", {"name": name, "role": role, "tenant": tenant})["one_time_password"])


def sign_in(pages: Pages, page: Any, name: str, password: str) -> None:
    page.goto(f"{pages.http}/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def choose(page: Any, old: str, new: str = PASSWORD) -> None:
    page.wait_for_selector("text=Choose a password", timeout=WAIT_MS)
    page.get_by_label("Old or one-time password").fill(old)
    page.get_by_label("New password", exact=True).fill(new)
    page.get_by_label("New password again").fill(new)
    page.get_by_role("button", name="Choose it").click()


def test_the_first_sign_in_chooses_a_password_and_the_next_uses_it(pages: Pages, page: Any) -> None:
    first = user(pages, "ada")
    sign_in(pages, page, "ada", first)
    choose(page, "not that one")
    page.wait_for_selector("text=The old password is wrong", timeout=WAIT_MS)
    choose(page, first, "short")
    page.wait_for_selector("text=10 characters or more", timeout=WAIT_MS)
    choose(page, first)
    page.get_by_role("navigation", name="Pages").wait_for(timeout=WAIT_MS)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for(timeout=WAIT_MS)
    sign_in(pages, page, "ada", first)
    page.wait_for_selector("text=is wrong, or does not hold", timeout=WAIT_MS)
    sign_in(pages, page, "ada", PASSWORD)
    page.get_by_role("navigation", name="Pages").wait_for(timeout=WAIT_MS)
    assert pages.complaints == []


def test_the_cookie_is_no_scripts_and_dies_at_the_broker_too(pages: Pages, page: Any) -> None:
    first = user(pages, "grace")
    sign_in(pages, page, "grace", first)
    choose(page, first)
    page.get_by_role("navigation", name="Pages").wait_for(timeout=WAIT_MS)
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    kept = cookies["gpupool_session"]
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Lax" for cookie in cookies.values())
    assert kept["value"] not in page.evaluate(
        "document.cookie + JSON.stringify(localStorage) + document.documentElement.outerHTML"
    )
    page.goto(f"{pages.http}/sign-out")
    page.get_by_role("heading", name="Sign in").wait_for(timeout=WAIT_MS)
    page.context.add_cookies([kept])
    page.goto(pages.http)
    page.get_by_role("heading", name="Sign in").wait_for(timeout=WAIT_MS)


def test_a_link_signs_in_once_and_a_wrong_token_not_at_all(pages: Pages, page: Any) -> None:
    page.goto(pages.sign_in)
    page.get_by_role("navigation", name="Pages").wait_for(timeout=WAIT_MS)
    stranger = page.context.browser.new_context().new_page()
    stranger.goto(pages.sign_in)
    stranger.wait_for_selector("text=That link was used already", timeout=WAIT_MS)
    stranger.click("summary")
    stranger.get_by_label("Token").fill("gpp_admin_guess")
    stranger.click("text=Sign in with the token")
    stranger.wait_for_selector("text=is wrong, or does not hold", timeout=WAIT_MS)
    stranger.goto(pages.http)
    stranger.get_by_role("heading", name="Sign in").wait_for(timeout=WAIT_MS)
    stranger.context.close()


def test_a_token_signs_in_and_is_not_what_the_browser_keeps(pages: Pages, page: Any) -> None:
    page.goto(f"{pages.http}/sign-in")
    page.click("summary")
    page.get_by_label("Token").fill(pages.admin)
    page.click("text=Sign in with the token")
    page.get_by_role("navigation", name="Pages").wait_for(timeout=WAIT_MS)
    assert pages.admin not in str(page.context.cookies())


def test_a_disabled_user_is_put_out_of_an_open_page(pages: Pages, page: Any) -> None:
    first = user(pages, "mallory")
    sign_in(pages, page, "mallory", first)
    choose(page, first)
    page.get_by_role("navigation", name="Pages").wait_for(timeout=WAIT_MS)
    pages.rest("PATCH", "/users/mallory", {"disabled": True})
    page.get_by_role("heading", name="Sign in").wait_for(timeout=WAIT_MS)


def test_no_text_of_an_address_gets_onto_the_page(pages: Pages, page: Any) -> None:
    page.goto(f"{pages.http}/sign-in?trouble=<img src=x onerror=alert(1)>&seconds=-5")
    page.get_by_role("heading", name="Sign in").wait_for(timeout=WAIT_MS)
    assert "<img" not in page.content()


def test_rest_takes_no_cookie(pages: Pages, page: Any) -> None:
    first = user(pages, "linus")
    sign_in(pages, page, "linus", first)
    choose(page, first)
    page.get_by_role("navigation", name="Pages").wait_for(timeout=WAIT_MS)
    status = page.evaluate("fetch('/api/v1/tokens', {credentials: 'include'}).then(answer => answer.status)")
    assert status == 401


@pytest.mark.parametrize("path", ["/sign-in", "/password", "/api/v1/tokens"])
def test_a_forged_post_of_another_site_is_refused(pages: Pages, path: str) -> None:
    request = urllib.request.Request(pages.http + path, method="POST", data=b"name=ada&password=x")
    request.add_header("Origin", "https://evil.example.org")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value:
        assert refused.value.code == 403


def test_the_audit_log_knows_where_the_browser_was(pages: Pages) -> None:
    request = urllib.request.Request(f"{pages.http}/sign-in", method="POST", data=b"name=ada&password=x")
    request.add_header("X-Forwarded-For", "203.0.113.9")
    urllib.request.urlopen(request, timeout=10).close()
    newest = pages.rest("GET", "/audit?action=sign_in&limit=1")[0]
    assert newest["address"] == "203.0.113.9", "the web page trusts a proxy on this machine, and the broker the web page"


@pytest.fixture
def provided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pages, SmallProvider]]:
    """A pool whose people sign in at a provider: provider, broker and web page."""
    home = tmp_path_factory.mktemp("oidc")
    log = home / "log"
    (home / "secret").write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = []
    with running_provider() as provider:
        lines = {"issuer": provider.url, "client_id": CLIENT, "redirect": f"http://127.0.0.1:{port}/sign-in/oidc", "name": "Acme"}
        file = home / "oidc.toml"
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        file.write_text(
            f'{text}client_secret_file = "{home / "secret"}"\n[[roles]]\nclaim = "groups"\nvalue = "gpu-admins"\nrole = "admin"\n'
        )
        options = [
            "--home",
            str(home),
            "--admin-token-file",
            str(home / "token"),
            "--admin-password-file",
            str(home / "password"),
        ]
        try:
            free_ports = ["--bind", "127.0.0.1:0", "--http", "127.0.0.1:0"]
            broker, at = launch(["broker", *options, *free_ports, "--oidc", str(file)], home / "broker.json", log)
            started.append(broker)
            bind = ["--bind", f"127.0.0.1:{port}", "--api", at["http"], "--home", str(home)]
            web, page = launch(["web", *bind], home / "web.json", log)
            started.append(web)
            yield Pages(page["http"], "", (home / "token").read_text().strip(), lambda: None, lambda: None), provider
        finally:
            for process in reversed(started):
                process.terminate()
                assert process.wait(20) == 0, log.read_text()


def test_a_provider_signs_in_whom_the_rules_let_in(provided: tuple[Pages, SmallProvider], page: Any) -> None:
    pages, provider = provided
    page.goto(f"{pages.http}/sign-in")
    page.get_by_role("link", name="Sign in with Acme").click()
    page.get_by_role("navigation", name="Pages").wait_for(timeout=WAIT_MS)
    made = {one["name"]: one for one in pages.rest("GET", "/users")}["eve"]
    assert (made["role"], made["signs_in_with"]) == ("admin", "oidc")
    page.goto(f"{pages.http}/sign-out")
    provider.person["groups"] = []
    page.get_by_role("link", name="Sign in with Acme").click()
    page.wait_for_selector("text=The provider did not sign you in", timeout=WAIT_MS)
    newest = pages.rest("GET", "/audit?action=sign_in.oidc&limit=1")[0]
    assert "gives a role here" in newest["remark"]
    page.goto(f"{pages.http}/sign-in/oidc?code=stolen&state=stolen")
    page.wait_for_selector("text=The provider did not sign you in", timeout=WAIT_MS)


@pytest.fixture
def admin(pages: Pages, page: Any) -> Any:
    """A browser whose admin has signed in with the one-time link's token."""
    page.goto(f"{pages.http}/sign-in")
    page.click("summary")
    page.get_by_label("Token").fill(pages.admin)
    page.keyboard.press("Enter")
    page.get_by_role("navigation", name="Pages").wait_for(timeout=WAIT_MS)
    return page


def test_an_admin_makes_a_user_and_disables_it(pages: Pages, admin: Any) -> None:
    admin.goto(f"{pages.http}/users")
    admin.get_by_role("button", name="New user").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Name").fill("<script>alert(1)")
    dialog.get_by_label("Tenant").fill("ocr")
    dialog.get_by_role("button", name="Make the user").click()
    secret = admin.locator("code.gp-secret")
    secret.wait_for(timeout=WAIT_MS)
    body = {"name": "<script>alert(1)", "password": secret.inner_text()}
    assert pages.rest("POST", "/sign-in", body)["role"] == "tenant"
    admin.get_by_role("button", name="Close").click()
    admin.get_by_role("button", name="Disable <script>alert(1)").click()
    admin.get_by_role("button", name="Disable", exact=True).last.click()
    admin.get_by_role("button", name="Enable <script>alert(1)").wait_for(timeout=WAIT_MS)
    made = {one["name"]: one for one in pages.rest("GET", "/users")}["<script>alert(1)"]
    assert made["disabled_at"]
    assert pages.complaints == []


def test_an_admin_makes_a_token_that_is_shown_once_and_revokes_it(pages: Pages, admin: Any) -> None:
    admin.goto(f"{pages.http}/users")
    admin.get_by_role("button", name="New token").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("What it is for").fill("board")
    dialog.get_by_label("Tenant").fill("ocr")
    dialog.get_by_text("May look and change nothing").click()
    dialog.get_by_role("button", name="Make the token").click()
    secret = admin.locator("code.gp-secret")
    secret.wait_for(timeout=WAIT_MS)
    token = secret.inner_text()
    assert pages.rest("GET", "/whoami", token=token)["read_only"]
    admin.get_by_role("button", name="Close").click()
    secret.wait_for(state="detached", timeout=WAIT_MS)
    assert token not in admin.content()
    admin.get_by_role("button", name="Revoke token board").click()
    admin.get_by_role("button", name="Revoke", exact=True).last.click()
    admin.wait_for_selector("text=revoked", timeout=WAIT_MS)
    with pytest.raises(urllib.error.HTTPError) as refused:
        pages.rest("GET", "/whoami", token=token)
    with refused.value:
        assert refused.value.code == 401


def test_the_audit_log_is_found_and_exported(pages: Pages, admin: Any, tmp_path: Path) -> None:
    pages.rest("PUT", "/quotas/found", {"compute": 100})
    pages.rest("PUT", "/quotas/found", {"compute": 150})
    admin.goto(f"{pages.http}/audit")
    admin.get_by_label("Action", exact=True).fill("tenants")
    admin.get_by_label("Of what", exact=True).fill("found")
    admin.get_by_role("button", name="Find").click()
    admin.wait_for_selector("text=100 → 150", timeout=WAIT_MS)
    with admin.expect_download(timeout=WAIT_MS) as waiting:
        admin.get_by_role("button", name="Download as CSV").click()
    waiting.value.save_as(tmp_path / "audit.csv")
    rows = list(csv.DictReader((tmp_path / "audit.csv").read_text("utf-8").splitlines()))
    assert [row["action"] for row in rows] == ["tenants.set_quota"] * 2
    assert pages.complaints == []


def test_settings_and_prices_are_set_on_their_page(pages: Pages, admin: Any) -> None:
    admin.goto(f"{pages.http}/settings")
    hours = admin.get_by_label("Hours a sign-in lasts")
    hours.fill("24")
    admin.get_by_role("button", name="Save").click()
    admin.wait_for_selector("text=It holds from now on.", timeout=WAIT_MS)
    assert {one["name"]: one["value"] for one in pages.rest("GET", "/settings")}["session_hours"] == 24
    admin.get_by_role("button", name="Set a price").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Valid from").fill("2026-10-01")
    dialog.get_by_label("Energy, per kWh").fill("0.31")
    dialog.get_by_role("button", name="Enter").click()
    admin.wait_for_selector("td:has-text('0.31')", timeout=WAIT_MS)
    assert pages.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(pages: Pages, admin: Any, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    admin.emulate_media(color_scheme=scheme)
    findings = []
    for path in ("/users", "/audit", "/settings", "/password", "/sign-in"):
        admin.goto(pages.http + path)
        admin.wait_for_selector("h1", timeout=WAIT_MS)
        for found in Axe().run(admin).response["violations"]:
            if found["impact"] in ("serious", "critical"):
                findings += [f"{path} {scheme} {found['id']}: {node['html'][:160]}" for node in found["nodes"][:3]]
    assert findings == []


def test_finance_looks_and_a_tenant_is_not_shown_the_way(pages: Pages, page: Any) -> None:
    page.goto(f"{pages.http}/sign-in")
    page.click("summary")
    page.get_by_label("Token").fill(pages.token("finance"))
    page.keyboard.press("Enter")
    page.get_by_role("navigation", name="Pages").wait_for(timeout=WAIT_MS)
    links = page.get_by_role("navigation", name="Pages").inner_text()
    assert "Audit log" in links
    assert "Users" not in links
    page.goto(f"{pages.http}/settings")
    page.get_by_label("Hours a sign-in lasts").wait_for(timeout=WAIT_MS)
    assert page.get_by_role("button", name="Save").count() == 0
