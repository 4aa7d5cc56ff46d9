"""Users and tokens: made, disabled, revoked by admins."""

from __future__ import annotations

from typing import Final

from nicegui import app, ui

from gpupool_web.dialogs import sure, tried
from gpupool_web.figures import link
from gpupool_web.live import Live
from gpupool_web.markup import tag
from gpupool_web.pages.frame import Frame, Site, opened
from gpupool_web.pages.navigation import ADMIN, FINANCE, TENANT
from gpupool_web.rest import Json
from gpupool_web.signing import NAME
from gpupool_web.views import access as view
from gpupool_web.words import noted

#: How long tokens are valid, in days; 0 for ever.
DAYS: Final[dict[int, str]] = {
    1: noted("a day"),
    30: noted("30 days"),
    365: noted("a year"),
    0: noted("until revoked"),
}
_KINDS: Final = {ADMIN: noted("admin"), FINANCE: noted("finance"), TENANT: noted("tenant"), "join": noted("node joining")}


def add_page(site: Site) -> None:
    """Serve them at /users."""

    @ui.page("/users", title="gpupool · users")
    async def users() -> None:
        if frame := opened(site, "/users"):
            await _Page(frame).again()


class _Page:
    """One admin's look at them."""

    def __init__(self, frame: Frame) -> None:
        self.frame, self.say = frame, frame.say
        self.me: str = app.storage.user.get(NAME, "")
        say = self.say
        with frame.main():
            with ui.element("div").classes("gp-title"):
                Live().show(tag("h1", say("Users & tokens")))
                ui.space()
                ui.button(say("New token"), on_click=lambda: _new_token(self)).props("no-caps outline")
                ui.button(say("New user"), on_click=lambda: _new_user(self)).props("no-caps unelevated")
            with ui.element("section").classes("gp-panel"):
                Live().show(tag("div", tag("h2", say("Users")), class_="gp-head"))
                self.users = Live(do=self._do)
            with ui.element("section").classes("gp-panel"):
                Live().show(tag("div", tag("h2", say("Tokens")), class_="gp-head"))
                self.tokens = Live(do=self._revoke)

    async def again(self) -> None:
        """Draw both anew."""
        rest, token = self.frame.site.rest, self.frame.token
        if (rows := await tried(self.say, rest.get("/users", token))) is not None:
            self.users.show(view.users(self.say, rows, self.me))
        if (rows := await tried(self.say, rest.get("/tokens", token))) is not None:
            self.tokens.show(view.tokens(self.say, rows))

    async def _do(self, what: str, name: str) -> None:
        say, rest, token, path = self.say, self.frame.site.rest, self.frame.token, link("/users/", name)
        if what == "reset":
            question = say("Give {name} a new one-time password?", name=name)
            is_meant = await sure(say, question, say("Its sessions end."), say("Reset password"))
            if is_meant and (made := await tried(say, rest.post(f"{path}/reset-password", token))):
                once(self, say("The one-time password of {name}:", name=name), made["one_time_password"])
        elif what == "end":
            await tried(say, rest.post(f"{path}/end-sessions", token), say("{name} is signed out.", name=name))
        elif what == "enable":
            await tried(say, rest.patch(path, token, {"disabled": False}), say("{name} may sign in again.", name=name))
        elif await sure(say, say("Disable {name}?", name=name), say("It is signed out everywhere."), say("Disable")):
            await tried(say, rest.patch(path, token, {"disabled": True}), say("{name} is disabled.", name=name))
        await self.again()

    async def _revoke(self, _what: str, token_id: str) -> None:
        say = self.say
        if await sure(say, say("Revoke this token?"), say("Whoever uses it is refused from then on."), say("Revoke")):
            await tried(
                self.say, self.frame.site.rest.delete(link("/tokens/", token_id), self.frame.token), say("It is revoked.")
            )
            await self.again()


def once(page: _Page, what: str, secret: str) -> None:
    """Show a secret, once."""
    say = page.say
    with ui.dialog().props(f'persistent aria-label="{say("Shown once")}"') as dialog, ui.card():
        Live().show(view.shown_once(say, what, secret))
        with ui.row().classes("w-full justify-end"):
            ui.button(say("Copy"), on_click=lambda: ui.clipboard.write(secret)).props("outline no-caps")
            ui.button(say("Close"), on_click=dialog.close).props("no-caps unelevated")
    # Gone from the page, too, once it is closed.
    dialog.on("hide", dialog.delete)
    dialog.open()


def _new_user(page: _Page) -> None:
    say = page.say
    with ui.dialog().props(f'aria-label="{say("New user")}"') as dialog, ui.card():
        ui.label(say("New user")).classes("gp-h").props("role=heading aria-level=2")
        name = ui.input(say("Name")).props("outlined dense").classes("w-full")
        role = _choice(page, {role: _KINDS[role] for role in (TENANT, FINANCE, ADMIN)}, TENANT)
        tenant = ui.input(say("Tenant")).props("outlined dense").classes("w-full")

        async def make() -> None:
            body = {"name": (name.value or "").strip(), "role": role.value, "tenant": (tenant.value or "").strip()}
            if made := await tried(say, page.frame.site.rest.post("/users", page.frame.token, body)):
                dialog.close()
                once(page, say("The one-time password of {name}:", name=made["name"]), made["one_time_password"])
                await page.again()

        _ending(page, dialog, say("Make the user"), make)
    dialog.open()


def _new_token(page: _Page) -> None:
    say = page.say
    with ui.dialog().props(f'aria-label="{say("New token")}"') as dialog, ui.card():
        ui.label(say("New token")).classes("gp-h").props("role=heading aria-level=2")
        name = ui.input(say("What it is for")).props("outlined dense").classes("w-full")
        role = _choice(page, _KINDS, TENANT)
        tenant = ui.input(say("Tenant")).props("outlined dense").classes("w-full")
        days = ui.select({key: say(title) for key, title in DAYS.items()}, label=say("Valid"), value=30)
        days.props("outlined dense").classes("w-full")
        reads = ui.checkbox(say("May look and change nothing"))

        async def make() -> None:
            body: Json = {"name": (name.value or "").strip(), "role": role.value, "tenant": (tenant.value or "").strip()}
            body |= {"read_only": reads.value, "expires_s": days.value * 86_400 or None}
            if made := await tried(say, page.frame.site.rest.post("/tokens", page.frame.token, body)):
                dialog.close()
                once(page, say("The token:"), made["token"])
                await page.again()

        _ending(page, dialog, say("Make the token"), make)
    dialog.open()


def _choice(page: _Page, titles: dict[str, str], value: str) -> ui.select:
    named = {key: page.say(title) for key, title in titles.items()}
    return ui.select(named, label=page.say("Role"), value=value).props("outlined dense").classes("w-full")


def _ending(page: _Page, dialog: ui.dialog, title: str, make: object) -> None:
    with ui.row().classes("w-full justify-end"):
        ui.button(page.say("Cancel"), on_click=dialog.close).props("flat no-caps")
        ui.button(title, on_click=make).props("no-caps unelevated")  # type: ignore[arg-type]
