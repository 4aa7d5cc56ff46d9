"""Choosing a password: at the first sign-in, and whenever one likes."""

from __future__ import annotations

from typing import Final

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from nicegui import app, ui

from gpupool_web import stay
from gpupool_web.forms import field, fields_of, form
from gpupool_web.live import Live
from gpupool_web.markup import Html, tag
from gpupool_web.pages.frame import Site, dress
from gpupool_web.words import Words, noted
from gpupool_wire.errors import GpupoolError, NotAuthorized, UsageError

_TROUBLES: Final = {
    "old": noted("The old password is wrong."),
    "new": noted("That cannot be the password: it needs 10 characters or more, and may not be your name or the old one."),
    "unlike": noted("The two new passwords differ."),
    "wait": noted("Too many attempts: try again in {seconds} s."),
    "form": noted("It could not be changed: try again in a moment."),
}


def add_page(site: Site) -> None:
    """Serve the form at /password and what becomes of it."""

    @ui.page("/password", title="gpupool · password")
    def password(trouble: str = "", seconds: int = 0) -> Response | None:
        if stay.credential() is None:
            return RedirectResponse("/sign-in")
        say = dress()
        Live().show(_page(say, trouble, min(max(seconds, 0), 86_400)))
        return None

    @app.post("/password", include_in_schema=False)
    async def chosen(request: Request) -> Response:
        session = request.cookies.get(stay.COOKIE)
        if session is None:
            return RedirectResponse("/sign-in", status_code=303)
        try:
            fields = await fields_of(request)
            if fields.get("new") != fields.get("again"):
                return _again("unlike")
            await site.rest.post("/password", session, {"old": fields.get("old", ""), "new": fields.get("new", "")})
        except GpupoolError as error:
            return _again(*_reason_of(error))
        return RedirectResponse("/", status_code=303)


def _reason_of(error: GpupoolError) -> tuple[str, int]:
    seconds = error.details.get("retry_after_s")
    if isinstance(seconds, int):
        return "wait", seconds
    if isinstance(error, UsageError):
        return ("old" if error.details.get("which") == "old" else "new"), 0
    return ("old" if isinstance(error, NotAuthorized) else "form"), 0


def _again(trouble: str, seconds: int = 0) -> Response:
    return RedirectResponse(f"/password?trouble={trouble}&seconds={seconds}", status_code=303)


def _page(say: Words, trouble: str, seconds: int) -> Html:
    why = say(_TROUBLES[trouble], seconds=seconds) if trouble in _TROUBLES else ""
    fields = form(
        "/password",
        field(say("Old or one-time password"), "old", kind="password", autocomplete="current-password", is_first=True),
        field(say("New password"), "new", kind="password", autocomplete="new-password"),
        field(say("New password again"), "again", kind="password", autocomplete="new-password"),
        submit=say("Choose it"),
    )
    hint = tag("p", say("Your other sessions end."), class_="gp-quiet")
    way_out = tag("a", say("Sign out"), href="/sign-out")
    panel = tag(
        "section",
        tag("h1", say("Choose a password")),
        tag("p", why, class_="gp-bad", role="alert"),
        fields,
        hint,
        way_out,
        class_="gp-panel",
    )
    return tag("main", panel, class_="gp-door")
