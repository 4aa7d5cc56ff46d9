"""The queue: position, reason, explain, cancel; and what would become of a request that is not made yet."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from gpupool_web.dialogs import sure, tried
from gpupool_web.figures import link
from gpupool_web.live import Live
from gpupool_web.markup import tag
from gpupool_web.pages.frame import Frame, Site, opened
from gpupool_web.pages.navigation import ADMIN, TENANT
from gpupool_web.rest import Json
from gpupool_web.views import queue as view

#: Requests that are shown; the first are served first.
MAX_ROWS = 100


def add_page(site: Site) -> None:
    """Serve the queue at /queue."""

    @ui.page("/queue", title="gpupool · queue")
    async def queue() -> None:
        if frame := opened(site, "/queue"):
            await _queue(frame)


async def _queue(frame: Frame) -> None:
    say, rest = frame.say, frame.site.rest

    async def do(what: str, request: str) -> None:
        path = link("/queue/", request)
        if what == "explain":
            if found := await tried(say, rest.get(f"{path}/explain", frame.token)):
                _explained(frame, found)
        elif await sure(say, say("Cancel this request?"), say("Who waits for it is told."), say("Cancel the request")):
            await tried(say, rest.delete(path, frame.token), say("It is cancelled."))

    with frame.main():
        Live().show(tag("h1", say("Queue")))
        with ui.element("section").classes("gp-panel"):
            listed = Live(do=do)
        with ui.element("section").classes("gp-panel"):
            _what_if(frame)
        with ui.element("section").classes("gp-panel"):
            Live().show(tag("div", tag("h2", say("Reservations")), class_="gp-head"))
            reserved = Live()

    may_cancel = frame.role in (ADMIN, TENANT)
    await frame.follow(lambda rows: listed.show(view.queue(say, rows, may_cancel=may_cancel)), "/queue", limit=str(MAX_ROWS))
    await frame.follow(lambda rows: reserved.show(view.reservations(say, rows)), "/reservations")


def _explained(frame: Frame, found: Json) -> None:
    say = frame.say
    with ui.dialog().props(f'aria-label="{say("Why it waits")}"') as dialog, ui.card().style("max-width:860px"):
        ui.label(say("Why it waits")).classes("gp-h").props("role=heading aria-level=2")
        Live().show(view.explanation(say, found))
        ui.button(say("Close"), on_click=dialog.close).props("flat no-caps").classes("self-end")
    dialog.open()


def _what_if(frame: Frame) -> None:
    """Draw the form that asks what would become of a request."""
    say = frame.say
    Live().show(
        tag("div", tag("h2", say("What if?")), tag("p", say("Nothing is asked for."), class_="gp-quiet"), class_="gp-head")
    )
    with ui.element("form").classes("gp-form").on("submit.prevent", lambda: ask()):
        compute = (
            ui.number(say("Compute (%)"), value=25, min=1, max=100, precision=0).props("outlined dense").style("width:130px")
        )
        memory = ui.input(say("Memory"), value="2GiB").props("outlined dense")
        gpus = ui.number(say("Devices"), value=1, min=1, max=64, precision=0).props("outlined dense").style("width:110px")
        priority = ui.number(say("Priority"), value=50, min=0, max=100, precision=0).props("outlined dense").style("width:110px")
        kind = ui.input(say("Kind of device")).props('outlined dense placeholder="cuda"').style("width:150px")
        tenant = ui.input(say("Tenant")).props("outlined dense") if frame.role == ADMIN else None
        ui.button(say("Explain")).props("no-caps unelevated type=submit")
    answer = Live().classes("q-mt-md").props('aria-live="polite"')

    async def ask() -> None:
        body: dict[str, Any] = {
            "compute": int(compute.value or 0),
            "memory": memory.value or "",
            "gpus": int(gpus.value or 0),
            "priority": int(priority.value or 0),
        }
        if kind.value:
            body["kind"] = kind.value
        if tenant is not None and tenant.value:
            body["tenant"] = tenant.value
        if found := await tried(say, frame.site.rest.post("/explain", frame.token, body)):
            answer.show(view.explanation(say, found))
