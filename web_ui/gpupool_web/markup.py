"""HTML as text, escaped unless it was made here: what a stranger wrote (a label, a tenant's name) is shown and never run.

tag("b", "5 < 6") ──> Html("<b>5 &lt; 6</b>") ──> a Live element puts it on the page
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

_EMPTY: Final = frozenset({"br", "col", "img", "input", "path", "rect", "line", "circle"})


class Html(str):
    """Text that is markup already, and goes onto the page as it is."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: object) -> Html:
    """Return an element. Children that are no Html are escaped; `class_` is `class`, `aria_label` is `aria-label`.

    Attributes that are None or False are left out; True stands alone.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None and value is not False)
    if name in _EMPTY:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{joined(children)}</{name}>")


def joined(children: Iterable[str | None]) -> Html:
    """Return pieces one after another."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children if child is not None))


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def moment(at: str | None, how: str = "ago", none: str = "–") -> Html:
    """Return a time (RFC 3339), which the browser writes in its own zone: "ago", "clock" (HH:MM:SS), "day" or "full"."""
    return Html(escape(none)) if at is None else tag("time", at, datetime=at, data_as=how)
