"""What stands before every page: nobody else's site may speak for the viewer, and the browser is told how careful to be.

request, websocket ──Origin is ours, or none?──> pages, REST          answer ──> + security headers, + Secure behind TLS
                   └── another site's: 403

Against forged requests there are three fences: the session cookie is SameSite=Lax, so that another site's forms and sockets come
without it; whatever names another site as its Origin is refused (also sockets, which SameSite does not stop on the same domain);
and REST takes no cookie at all.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Vue compiles the pages' templates in the browser, and NiceGUI's start is a script within the page: neither works without
#: 'unsafe-eval' and 'unsafe-inline'. Nothing comes from, goes to, or is framed by anywhere else.
POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
#: A year; whoever has seen us by TLS once does not come without.
STRICT_TRANSPORT: Final = "max-age=31536000"


class Guard:
    """ASGI middleware around everything the web process serves."""

    def __init__(self, app: ASGIApp, public_url: str = "") -> None:
        """`public_url` is where browsers find us, where a proxy does not pass their Host on."""
        self._app = app
        self._public = urlsplit(public_url).netloc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what another site sends; dress what we answer."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_ours(headers):
            await _refuse(scope, receive, send)
            return
        is_secure = scope["scheme"] in ("https", "wss")

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                _dress(MutableHeaders(scope=message), is_secure=is_secure)
            await send(message)

        await self._app(scope, receive, dressed)

    def _is_ours(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        return origin is None or urlsplit(origin).netloc in (headers.get("host"), self._public or None)


def _dress(headers: MutableHeaders, *, is_secure: bool) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if is_secure:
        headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT)
        cookies = headers.getlist("set-cookie")
        del headers["set-cookie"]
        for cookie in cookies:
            headers.append("set-cookie", cookie if "; secure" in cookie.lower() else f"{cookie}; Secure")


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain; charset=utf-8")]})
    await send({"type": "http.response.body", "body": b"this request comes from another site's page\n"})
