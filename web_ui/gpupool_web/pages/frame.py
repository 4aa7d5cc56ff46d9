"""What every page has around it: name, navigation, who is signed in, language, light or dark, and whether the broker answers.

frame = opened(site, "/queue")          who is it, may they see it; None where they were sent elsewhere
with frame.main(): ...                  the page itself, in the viewer's language (`frame.say`)
await frame.follow(draw, "/queue")      draw(data) now, and again whenever the pool looks different
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from nicegui import app, ui

from gpupool_web.follower import Follower, Watch
from gpupool_web.live import Live
from gpupool_web.markup import Html, joined, tag
from gpupool_web.pages.navigation import PAGES
from gpupool_web.rest import Rest
from gpupool_web.signing import ROLE, TENANT, Tickets
from gpupool_web.stay import credential
from gpupool_web.theme import CSS
from gpupool_web.words import LANGUAGES, Words, language_of, noted, refusals
from gpupool_wire.errors import GpupoolError, NotAuthorized, PoolUnreachable

#: A page waits so long for what it shows.
FIRST_S: Final = 1.5
LANGUAGE, DARK = "language", "dark"
_DARK: dict[str, bool | None] = {noted("Follow the system"): None, noted("Light"): False, noted("Dark"): True}


@dataclass(frozen=True, slots=True)
class Site:
    """What pages share."""

    rest: Rest
    follower: Follower
    tickets: Tickets


def sign_out() -> None:
    """End the viewer's stay; language and appearance stay."""
    ui.navigate.to("/sign-out")


def viewers_words() -> Words:
    """Return the language that the viewer chose, or else the one the browser asks for."""
    request = ui.context.client.request
    accepts = request.headers.get("accept-language", "") if request else ""
    return Words(app.storage.user.get(LANGUAGE) or language_of(accepts))


def dress() -> Words:
    """Give a page its looks and its language, and return the words to say on it. For pages without a frame too."""
    say, client = viewers_words(), ui.context.client
    # A page's language and theme are those of its function; this viewer has their own.
    client.page = copy.copy(client.page)
    client.page.language = say.language  # type: ignore[assignment]
    client.page.dark = app.storage.user.get(DARK)
    ui.add_css(CSS)
    return say


def opened(site: Site, here: str) -> Frame | None:
    """Return the frame of the page at `here`; None where nobody is signed in, and the sign-in page is on its way."""
    token = credential()
    if token is None:
        ui.navigate.to("/sign-in")
        return None
    return Frame(site, here, token)


class Frame:
    """One open page of one viewer."""

    def __init__(self, site: Site, here: str, token: str) -> None:
        self.site, self.here, self.token = site, here, token
        self.role: str = app.storage.user.get(ROLE, "")
        self.tenant: str = app.storage.user.get(TENANT, "")
        self.say = dress()
        self._watches: list[Watch] = []
        #: By address: what is wrong with what this page follows.
        self._troubles: dict[str, GpupoolError] = {}
        self._client = ui.context.client
        self._client.on_delete(self.close)
        self._draw()

    def main(self) -> AbstractContextManager[object]:
        """Return the element that holds the page itself."""
        return self._main

    def close(self) -> None:
        """Follow nothing any more."""
        for watch in self._watches:
            watch.close()

    async def follow(self, draw: Callable[[Any], None], path: str, **params: str) -> Watch:
        """Draw what REST says at `path`, now and whenever the pool looks different. Several may be followed."""

        def told(answer: Any, trouble: GpupoolError | None) -> None:  # noqa: ANN401 - JSON
            if isinstance(trouble, NotAuthorized):
                with self._client:
                    sign_out()
                return
            self._tell(path, trouble)
            if answer is not None:
                with self._client:
                    draw(answer)

        watch = self.site.follower.watch(told, self.token, path, params)
        self._watches.append(watch)
        looking = asyncio.ensure_future(watch.look())
        # A page is better there without its figures than not there: they follow.
        await asyncio.wait([looking], timeout=FIRST_S)
        return watch

    def _tell(self, path: str, trouble: GpupoolError | None) -> None:
        """Say that the broker does not answer, that it does again, or what else is wrong with what the page follows."""
        was_in_trouble = bool(self._troubles)
        self._troubles.pop(path, None)
        if trouble is not None:
            self._troubles[path] = trouble
        for wrong in self._troubles.values():
            said = refusals.kind(self.say, wrong) if isinstance(wrong, PoolUnreachable) else refusals.trouble(self.say, wrong)
            line = self.say("{trouble}. Trying again every second; what is shown may be old.", trouble=said)
            self._trouble.show(tag("p", line, class_="gp-trouble", role="alert"))
        if was_in_trouble and not self._troubles:
            self._trouble.show(tag("p", self.say("The broker answers again."), class_="gp-again", role="status"))
        self._pulse.show(_pulse(self.say, is_live=not self._troubles))

    # ── drawn once ──────

    def _draw(self) -> None:
        say = self.say
        if title := next((stop.title for stop in PAGES if stop.holds(self.here)), ""):
            ui.page_title(f"gpupool · {say(title)}")
        with ui.element("div").classes("gp-shell"):
            with ui.element("header").classes("gp-side"):
                Live().show(_brand(say))
                Live("nav").props(f'aria-label="{say("Pages")}"').classes("gp-nav").show(_navigation(say, self.here, self.role))
                with ui.element("div").classes("gp-viewer"):
                    self._pulse = Live()
                    self._pulse.show(_pulse(say, is_live=True))
                    Live().show(tag("p", say(self.role), " · " + self.tenant if self.role == "tenant" else "", class_="gp-who"))
                    self._choices()
            with ui.element("div").classes("gp-body"):
                self._trouble = Live()
                self._main = ui.element("main").classes("gp-main").props('id="content" tabindex="-1"')

    def _choices(self) -> None:
        """Draw language, appearance, and the way out."""
        say, kept = self.say, app.storage.user

        def speak(event: Any) -> None:  # noqa: ANN401 - NiceGUI's
            kept[LANGUAGE] = event.value
            ui.navigate.reload()

        def shade(event: Any) -> None:  # noqa: ANN401
            kept[DARK] = _DARK[event.value]
            dark.value = _DARK[event.value]

        dark = ui.dark_mode(kept.get(DARK))
        chosen = next(title for title, value in _DARK.items() if value is kept.get(DARK))
        looks = 'dense borderless options-dense aria-label="{}"'
        ui.select(LANGUAGES, value=say.language, on_change=speak).props(looks.format(say("Language"))).classes("gp-choice")
        titles = {title: say(title) for title in _DARK}
        ui.select(titles, value=chosen, on_change=shade).props(looks.format(say("Appearance"))).classes("gp-choice")
        Live().show(tag("a", say("Change password"), href="/password", class_="gp-quiet gp-small"))
        ui.button(say("Sign out"), on_click=sign_out).props("flat dense no-caps align=left").classes("gp-choice")


def _brand(say: Words) -> Html:
    skip = tag("a", say("Skip to the content"), href="#content", class_="gp-skip")
    return joined([skip, tag("a", tag("span", class_="gp-mark", aria_hidden="true"), "gpupool", href="/", class_="gp-brand")])


def _navigation(say: Words, here: str, role: str) -> Html:
    links = []
    for stop in PAGES:
        if role in stop.roles:
            sign = tag("svg", tag("path", d=stop.sign), viewBox="0 0 20 20", class_="gp-sign", aria_hidden="true")
            is_here = "page" if stop.holds(here) else None
            links.append(tag("a", sign, tag("span", say(stop.title)), href=stop.path, aria_current=is_here))
    return joined(links)


def _pulse(say: Words, *, is_live: bool) -> Html:
    text = say("Live") if is_live else say("Not connected")
    return tag("p", tag("span", class_="gp-dot", aria_hidden="true"), text, class_="gp-pulse" + ("" if is_live else " gp-off"))
