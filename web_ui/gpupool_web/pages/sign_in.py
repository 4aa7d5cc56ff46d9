"""Signing in: with a token, or with the one-time ticket of the pool on this machine."""

from __future__ import annotations

from nicegui import app, ui

from gpupool_web.pages.frame import Site
from gpupool_web.signing import ROLE, TENANT, TOKEN
from gpupool_web.theme import CSS
from gpupool_wire.errors import GpupoolError


def add_page(site: Site) -> None:
    """Serve the form at /sign-in; `?ticket=` signs in at once."""

    @ui.page("/sign-in", title="gpupool · sign in")
    async def sign_in(ticket: str = "") -> None:
        ui.add_css(CSS)
        ui.dark_mode(app.storage.user.get("dark"))
        if (token := site.tickets.redeem(ticket)) and await _admit(site, token) is None:
            ui.navigate.to("/")
            return
        with ui.element("main").classes("gp-main").style("max-width:460px;padding-top:12vh"):
            ui.label("gpupool").style("font-size:26px;font-weight:700")
            with ui.element("section").classes("gp-panel"):
                _form(site, "That link was used already: enter a token." if ticket else "")


def _form(site: Site, remark: str) -> None:
    ui.label("Sign in with a token").classes("gp-h").props("role=heading aria-level=1")
    ui.label("On the machine of the broker it lies in GPUPOOL_HOME/admin.token.").classes("gp-quiet")
    field = ui.input("Token", password=True, password_toggle_button=True).props("outlined autofocus").classes("w-full q-mt-md")
    trouble = ui.label(remark).classes("gp-bad").props('role="alert"')

    async def submit() -> None:
        why_not = await _admit(site, field.value.strip())
        if why_not is None:
            ui.navigate.to("/")
        else:
            trouble.set_text(why_not)

    field.on("keydown.enter", submit)
    ui.button("Sign in", on_click=submit).props("no-caps unelevated").classes("w-full q-mt-sm")


async def _admit(site: Site, token: str) -> str | None:
    """Check a token and keep it in the session; return why not, or None."""
    if not token:
        return "Enter a token."
    try:
        who = await site.rest.get("/whoami", token)
    except GpupoolError as error:
        return str(error)
    app.storage.user.update({TOKEN: token, ROLE: who["role"], TENANT: who["tenant"]})
    return None
