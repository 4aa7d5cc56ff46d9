"""Forms a browser posts by itself, without a script: what they hold, and how they look."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request

from gpupool_web.markup import Html, tag
from gpupool_wire.errors import LimitExceeded, UsageError

#: Three passwords of the greatest length, percent-encoded.
MAX_BYTES: Final = 16_384
MAX_FIELDS: Final = 8


async def fields_of(request: Request) -> dict[str, str]:
    """Return the fields of a posted form. Raises LimitExceeded, and UsageError where it is none (not UTF-8, too many fields)."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise LimitExceeded(f"the form is over {MAX_BYTES} bytes")
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise UsageError(f"the form is not understood: {error}") from error


def form(action: str, *children: Html, submit: str) -> Html:
    """Return a form that is posted to `action`."""
    button = tag("button", submit, type="submit", class_="gp-submit")
    return tag("form", *children, button, method="post", action=action, class_="gp-plain-form")


def field(title: str, name: str, *, kind: str = "text", autocomplete: str = "off", is_first: bool = False) -> Html:
    """Return a field with its title."""
    box = tag("input", type=kind, name=name, autocomplete=autocomplete, required=True, autofocus=is_first)
    return tag("label", title, box)
