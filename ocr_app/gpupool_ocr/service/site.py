"""The pages of a service: plain files of this package that ask its REST, and load nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter, Response

#: What is served under which address.
ADDRESSES = {
    "": "index.html",
    "cases": "cases.html",
    "versions": "versions.html",
    **{name: name for name in ("page.css", "cases.css", "versions.css")},
    **{name: name for name in ("service.js", "page.js", "boxes.js", "cases.js", "versions.js")},
}
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
#: The pages load nothing from elsewhere, send nothing elsewhere, and are shown in nobody's frame.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def make_router() -> APIRouter:
    """Return the addresses of the pages."""
    router = APIRouter(include_in_schema=False)
    folder = files("gpupool_ocr.service") / "page"
    for address, name in ADDRESSES.items():
        _add(router, address, (folder / name).read_bytes(), _KINDS[PurePath(name).suffix])
    return router


def _add(router: APIRouter, address: str, content: bytes, kind: str) -> None:
    @router.get(f"/{address}")
    async def answer() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)
