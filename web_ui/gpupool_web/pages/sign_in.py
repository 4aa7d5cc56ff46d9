"""Signing in: with name and password, with a token, by a provider, or with the one-time ticket of the pool on this machine."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Final

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from nicegui import app, ui

from gpupool_web import stay
from gpupool_web.forms import field, fields_of, form
from gpupool_web.live import Live
from gpupool_web.markup import Html, tag
from gpupool_web.pages.frame import Site, dress
from gpupool_web.rest import Json
from gpupool_web.words import Words, noted
from gpupool_wire.errors import GpupoolError, NotAuthorized, PoolUnreachable

#: Why somebody is asked again: a word of the address, so that nobody can put a text of theirs onto the page.
_TROUBLES: Final = {
    "wrong": noted("Name, password or token is wrong, or does not hold any more."),
    "wait": noted("Too many attempts: try again in {seconds} s."),
    "away": noted("The broker does not answer: try again in a moment."),
    "link": noted("That link was used already: sign in with name and password, or with a token."),
    "provider": noted(
        "The provider did not sign you in, or its answer gives you no role here. An admin finds the reason in the audit log."
    ),
    "form": noted("The form was not understood."),
}
MAX_SECONDS: Final = 86_400
#: Where the state of a sign-in at a provider is kept until the browser is back.
BEGUN: Final = "oidc"


def add_page(site: Site) -> None:
    """Serve the form at /sign-in and what becomes of it; `?ticket=` signs in at once."""

    @ui.page("/sign-in", title="gpupool · sign in")
    async def sign_in(request: Request, ticket: str = "", trouble: str = "", seconds: int = 0) -> Response | None:
        if ticket:
            token = site.tickets.redeem(ticket)
            return await _opened(site, request, {"token": token}) if token else _again("link")
        say = dress()
        Live().show(_page(say, trouble, min(max(seconds, 0), MAX_SECONDS), await _provider(site)))
        return None

    @app.post("/sign-in", include_in_schema=False)
    async def signed_in(request: Request) -> Response:
        try:
            fields = await fields_of(request)
        except GpupoolError:
            return _again("form")
        return await _opened(site, request, {name: fields[name] for name in ("name", "password", "token") if name in fields})

    @app.get("/sign-in/oidc", include_in_schema=False)
    async def by_provider(request: Request, code: str = "", state: str = "") -> Response:
        if not state:
            return await _sent_to_provider(site)
        # The browser that comes back is the one that was sent: nobody can be signed in as somebody else.
        begun = app.storage.user.pop(BEGUN, "")
        if not (code and begun and secrets.compare_digest(begun.encode(), state.encode())):
            return _again("provider")
        try:
            signed = await site.rest.sign_in("/oidc/finish", {"code": code, "state": state}, address_of(request))
        except GpupoolError as error:
            return _again("away" if isinstance(error, PoolUnreachable) else "provider")
        return stay.admit(signed)

    @app.get("/sign-out", include_in_schema=False)
    async def signed_out(request: Request) -> Response:
        # Another site's link or picture shall not sign anybody out.
        if request.headers.get("sec-fetch-site") == "cross-site":
            return RedirectResponse("/", status_code=303)
        if session := request.cookies.get(stay.COOKIE):
            # Where it is over already, or the broker away, the browser forgets it all the same.
            with suppress(GpupoolError):
                await site.rest.delete("/session", session)
        return stay.dismiss()


async def _provider(site: Site) -> str:
    """Return the name of the provider that signs people in here, empty where there is none."""
    try:
        return str((await site.rest.get("/sign-in", ""))["oidc"])
    except GpupoolError:
        return ""


async def _sent_to_provider(site: Site) -> Response:
    try:
        begun = await site.rest.post("/oidc/start", "")
    except GpupoolError:
        return _again("provider")
    app.storage.user[BEGUN] = begun["state"]
    return RedirectResponse(begun["url"], status_code=303)


async def _opened(site: Site, request: Request, body: Json) -> Response:
    try:
        return stay.admit(await site.rest.sign_in("/sign-in", body, address_of(request)))
    except GpupoolError as error:
        return _again(*reason_of(error))


def reason_of(error: GpupoolError) -> tuple[str, int]:
    """Return the word for what went wrong, and how long to wait."""
    seconds = error.details.get("retry_after_s")
    if isinstance(seconds, int):
        return "wait", seconds
    return ("away" if isinstance(error, PoolUnreachable) else "wrong" if isinstance(error, NotAuthorized) else "form"), 0


def _again(trouble: str, seconds: int = 0) -> Response:
    return RedirectResponse(f"/sign-in?trouble={trouble}&seconds={seconds}", status_code=303)


def address_of(request: Request) -> str:
    """Return where a viewer is, for the broker's limits and its audit log."""
    return request.client.host if request.client else ""


def _page(say: Words, trouble: str, seconds: int, provider: str) -> Html:
    by_name = form(
        "/sign-in",
        field(say("Name"), "name", autocomplete="username", is_first=True),
        field(say("Password"), "password", kind="password", autocomplete="current-password"),
        submit=say("Sign in"),
    )
    by_token = form("/sign-in", field(say("Token"), "token", kind="password"), submit=say("Sign in with the token"))
    why = say(_TROUBLES[trouble], seconds=seconds) if trouble in _TROUBLES else ""
    link = (
        tag("a", say("Sign in with {provider}", provider=provider), href="/sign-in/oidc", class_="gp-submit")
        if provider
        else None
    )
    hint = say("On the machine of the broker the admin's token lies in GPUPOOL_HOME/admin.token.")
    more = tag("details", tag("summary", say("With a token")), tag("p", hint, class_="gp-quiet"), by_token)
    panel = tag(
        "section", tag("h1", say("Sign in")), tag("p", why, class_="gp-bad", role="alert"), link, by_name, more, class_="gp-panel"
    )
    return tag(
        "main", tag("p", tag("span", class_="gp-mark", aria_hidden="true"), "gpupool", class_="gp-brand"), panel, class_="gp-door"
    )
