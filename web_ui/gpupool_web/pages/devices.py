"""Devices, and one node: what each device holds, who, how busy; taking a node out of service."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from gpupool_web.dialogs import sure, tried
from gpupool_web.figures import link
from gpupool_web.live import Live
from gpupool_web.markup import joined, tag
from gpupool_web.pages.frame import Frame, Site, opened
from gpupool_web.pages.navigation import ADMIN
from gpupool_web.rest import Json
from gpupool_web.tables import pager
from gpupool_web.views import devices as view
from gpupool_web.words import noted

#: Devices shown at a time.
PAGE_DEVICES = 25
_STATES = {"": noted("All devices"), "up": noted("In service"), "away": noted("Out of service")}
_SORTS = {"node": noted("By name"), "-busy": noted("Busiest first"), "-compute": noted("Fullest first")}
#: How long a drained node's slices have to move.
DRAIN_S = 300


def add_page(site: Site) -> None:
    """Serve the devices at /devices and a node at /nodes/NAME."""

    @ui.page("/devices", title="gpupool · devices")
    async def devices() -> None:
        if frame := opened(site, "/devices"):
            await _devices(frame)

    @ui.page("/nodes/{node:path}", title="gpupool · node")
    async def node_page(node: str) -> None:
        if frame := opened(site, "/devices"):
            await _node(frame, node)


async def _devices(frame: Frame) -> None:
    say = frame.say
    shown: dict[str, str] = {"offset": "0"}

    async def look(**params: str) -> None:
        shown.update({"offset": "0", **params})
        await watch.look(**shown)

    async def do(what: str, with_: str) -> None:
        if what == "page":
            await look(offset=with_)

    with frame.main():
        Live().show(tag("h1", say("Devices")))
        with ui.element("section").classes("gp-panel"):
            with ui.element("div").classes("gp-form q-mb-md"):
                search = ui.input(say("Search"), on_change=lambda event: look(words=event.value or ""))
                search.props("outlined dense clearable debounce=250").style("min-width:260px")
                states = {state: say(title) for state, title in _STATES.items()}
                ui.select(states, value="", label=say("State"), on_change=lambda event: look(state=event.value)).props(
                    "outlined dense"
                ).style("min-width:170px")
                sorts = {sort: say(title) for sort, title in _SORTS.items()}
                ui.select(sorts, value="node", label=say("Order"), on_change=lambda event: look(sort=event.value)).props(
                    "outlined dense"
                ).style("min-width:170px")
            listed = Live(do=do)

    def draw(found: Json) -> None:
        offset = int(shown["offset"])
        empty = say("No device is there: run `gpupool agent` on a machine with a GPU.")
        parts = [
            view.devices(say, found["rows"], empty=empty),
            pager(say, offset, len(found["rows"]), found["total"], PAGE_DEVICES),
        ]
        listed.show(joined(parts))

    watch = await frame.follow(draw, "/devices", with_slices="true", sort="node", limit=str(PAGE_DEVICES))


async def _node(frame: Frame, name: str) -> None:
    say, site = frame.say, frame.site
    path = link("/nodes/", name)

    async def do(what: str, node: str) -> None:
        if what == "drain":
            question = say("Drain {node}?", node=node)
            happens = say("Its slices move to other nodes within {s} s, or end.", s=DRAIN_S)
            if not await sure(say, question, happens, say("Drain")):
                return
        body: dict[str, Any] | None = {"deadline_s": DRAIN_S} if what == "drain" else None
        await tried(say, site.rest.post(f"{path}/{what}", frame.token, body), say("{node} is told.", node=node))

    with frame.main():
        head = Live()
        with ui.element("section").classes("gp-panel"):
            facts = Live()
            actions = Live(do=do).classes("q-mt-md")
        with ui.element("section").classes("gp-panel"):
            listed = Live()

    def draw(node: Json) -> None:
        head.show(view.node_head(say, node))
        facts.show(view.node_facts(say, node))
        if frame.role == ADMIN:
            actions.show(view.node_actions(say, node))
        listed.show(view.devices(say, node["device_list"], empty=say("This node offers no device.")))

    await frame.follow(draw, path)
