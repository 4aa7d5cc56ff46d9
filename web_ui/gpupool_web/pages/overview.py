"""The overview: what there is, what is given out, what is wrong; readable in five seconds."""

from __future__ import annotations

from nicegui import ui

from gpupool_web.live import Live
from gpupool_web.markup import tag
from gpupool_web.pages.frame import Site, opened
from gpupool_web.rest import Json
from gpupool_web.views import overview as view


def add_page(site: Site) -> None:
    """Serve the overview at /."""

    @ui.page("/", title="gpupool · overview")
    async def overview() -> None:
        frame = opened(site, "/")
        if frame is None:
            return
        say = frame.say
        with frame.main():
            Live().show(tag("h1", say("Overview")))
            tiles = Live()
            with ui.element("div").classes("gp-grid21"):
                with ui.element("div").classes("gp-stack"):
                    history, tenants = Live(), Live()
                with ui.element("div").classes("gp-stack"):
                    alarms, waiting = Live(), Live()

        def draw(seen: Json) -> None:
            tiles.show(view.tiles(say, seen))
            alarms.show(view.alarms(say, seen))
            tenants.show(view.tenants(say, seen))
            waiting.show(view.waiting(say, seen))

        await frame.follow(draw, "/overview")
        await frame.follow(lambda points: history.show(view.history(say, points)), "/history")
