"""What every page has around it: name, navigation, who is signed in, and a line when the broker does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nicegui import app, ui

from gpupool_web.rest import Rest
from gpupool_web.signing import ROLE, TENANT, TOKEN, Tickets
from gpupool_web.snapshot import Snapshot, Snapshots
from gpupool_web.theme import CSS
from gpupool_wire.errors import NotAuthorized

PAGES = (("/", "Overview"), ("/slices", "Slices"), ("/reports", "Reports"))
REFRESH_S = 1.0
AGES_S = 10.0


@dataclass(frozen=True, slots=True)
class Site:
    """What pages share."""

    rest: Rest
    snapshots: Snapshots
    tickets: Tickets


def signed_in() -> str | None:
    """Return the token of whoever looks at this page."""
    token: str | None = app.storage.user.get(TOKEN)
    return token


def sign_out() -> None:
    """Forget who is at this browser."""
    app.storage.user.clear()
    ui.navigate.to("/sign-in")


def dress(here: str) -> None:
    """Draw the header of the page `here`."""
    ui.add_css(CSS)
    dark = ui.dark_mode(app.storage.user.get("dark"))

    def toggle() -> None:
        dark.value = not dark.value
        app.storage.user["dark"] = dark.value

    with ui.header().classes("items-center q-px-lg q-py-xs"):
        ui.html("<strong style='font-size:16px'>gpupool</strong>", sanitize=False)
        with ui.element("nav").classes("gp-nav q-ml-md").props('aria-label="Pages"'):
            for path, title in PAGES:
                ui.link(title, path).classes("gp-here" if path == here else "")
        ui.space()
        role, tenant = app.storage.user.get(ROLE, ""), app.storage.user.get(TENANT, "")
        ui.label(f"{role} · {tenant}" if role == "tenant" else role).classes("gp-quiet")
        ui.button(icon="contrast", on_click=toggle).props('flat round dense aria-label="Light or dark"')
        ui.button("Sign out", on_click=sign_out).props("flat dense no-caps")


def live(site: Site, token: str, draw: Callable[[Snapshot], None]) -> None:
    """Draw the page now and whenever the pool looks different, pushed from here; nothing is polled by the browser."""
    shown: list[object] = []

    @ui.refreshable
    def body(snapshot: Snapshot) -> None:
        if snapshot.trouble:
            trouble = f"{snapshot.trouble}. Trying again every second; what is shown may be old."
            ui.label(trouble).classes("gp-trouble").props('role="alert"')
        with ui.element("main").classes("gp-main"):
            draw(snapshot)

    async def refresh() -> None:
        try:
            snapshot = await site.snapshots.of(token)
        except NotAuthorized:
            sign_out()
            return
        # Ages on the page move on even while the pool does not.
        epoch = int(time.monotonic() / AGES_S)
        state = (snapshot.nodes, snapshot.devices, snapshot.slices, snapshot.trouble, epoch)
        if shown != [state]:
            shown[:] = [state]
            body.refresh(snapshot)

    body(Snapshot())
    ui.timer(REFRESH_S, refresh)
