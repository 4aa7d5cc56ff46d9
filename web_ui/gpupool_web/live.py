"""A part of a page that is drawn anew from the server without losing focus, selection or scrolling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from gpupool_web.markup import Html

#: Gets what is to be done and with what: `data-do` and `data-with` of the thing that was pressed.
Do = Callable[[str, str], Awaitable[None] | None]


class Live(Element, component="live.js"):
    """Holds markup; the browser lays new markup over the old (live.js)."""

    def __init__(self, tag: str = "div", do: Do | None = None) -> None:
        super().__init__()
        self._props["tag"] = tag
        self._props["markup"] = ""
        if do is not None:

            def told(event: GenericEventArguments) -> Awaitable[None] | None:
                what, with_ = event.args
                return do(str(what), str(with_))

            self.on("do", told)

    @property
    def markup(self) -> str:
        """What is shown."""
        return str(self._props["markup"])

    def show(self, markup: Html) -> None:
        """Show markup; what is shown already is not sent again."""
        if markup != self._props["markup"]:
            self._props["markup"] = str(markup)
            self.update()
