"""The slices: find one among many."""

from __future__ import annotations

from nicegui import ui

from gpupool_web.live import Live
from gpupool_web.markup import joined, tag
from gpupool_web.pages.frame import Frame, Site, opened
from gpupool_web.rest import Json
from gpupool_web.tables import PAGE_ROWS, pager
from gpupool_web.views import slices as view
from gpupool_web.words import noted

#: Of what is looked for, as REST takes it.
MAX_WORDS = 256
_STATES = {
    "live": noted("Not over"),
    "starving": noted("Starving"),
    "paused": noted("Paused"),
    "stranded": noted("Stranded"),
    "ended": noted("Ended lately"),
}


def add_page(site: Site) -> None:
    """Serve the slices at /slices."""

    @ui.page("/slices", title="gpupool · slices")
    async def slices(words: str = "") -> None:
        if frame := opened(site, "/slices"):
            await _slices(frame, words[:MAX_WORDS])


async def _slices(frame: Frame, words: str) -> None:
    say = frame.say
    shown = {"offset": "0", "sort": "-created", "words": words}

    async def look(**params: str) -> None:
        shown.update({"offset": "0", **params})
        await watch.look(**shown)

    async def do(what: str, with_: str) -> None:
        await look(**{"sort" if what == "sort" else "offset": with_})

    with frame.main():
        Live().show(tag("h1", say("Slices")))
        with ui.element("section").classes("gp-panel"):
            with ui.element("div").classes("gp-form q-mb-md"):
                search = ui.input(say("Search"), value=words, on_change=lambda event: look(words=(event.value or "")[:MAX_WORDS]))
                search.props("outlined dense clearable debounce=250").style("min-width:280px")
                states = {state: say(title) for state, title in _STATES.items()}
                choice = ui.select(states, value="live", label=say("State"), on_change=lambda event: look(state=event.value))
                choice.props("outlined dense").style("min-width:180px")
            listed = Live(do=do)

    def draw(found: Json) -> None:
        rows = found["rows"]
        listed.show(
            joined(
                [view.slices(say, rows, shown["sort"]), pager(say, int(shown["offset"]), len(rows), found["total"], PAGE_ROWS)]
            )
        )

    watch = await frame.follow(draw, "/slices", limit=str(PAGE_ROWS), **shown)
