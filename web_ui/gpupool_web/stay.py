"""The viewer's stay: the broker's session, kept by the browser alone in a cookie that no script can read.

form ──POST /sign-in──> broker: session ──> cookie (HttpOnly, SameSite=Lax, Secure behind TLS) ──> pages ask with it
                                       <── /sign-out: ended at the broker, cookie gone

What is kept on the server's side (language, role for the navigation) decides nothing: every answer is the broker's.
"""

from __future__ import annotations

from typing import Final

from fastapi.responses import RedirectResponse, Response
from nicegui import app, ui

from gpupool_web.rest import Json
from gpupool_web.signing import NAME, ROLE, TENANT

COOKIE: Final = "gpupool_session"


def credential() -> str | None:
    """Return the session of whoever looks at this page."""
    request = ui.context.client.request
    return request.cookies.get(COOKIE) if request else None


def admit(signed: Json) -> Response:
    """Return the answer that lets a browser in with a session the broker has given; first to a password of its own."""
    app.storage.user.update({ROLE: signed["role"], TENANT: signed["tenant"], NAME: signed["name"]})
    answer = RedirectResponse("/password" if signed["must_change"] else "/", status_code=303)
    answer.set_cookie(COOKIE, signed["session"], httponly=True, samesite="lax", path="/")
    return answer


def dismiss() -> Response:
    """Return the answer that sends a browser away without its session; language and appearance stay."""
    for key in (ROLE, TENANT, NAME):
        app.storage.user.pop(key, None)
    answer = RedirectResponse("/sign-in", status_code=303)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return answer
