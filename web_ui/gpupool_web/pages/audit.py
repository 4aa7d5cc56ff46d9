"""The audit log: who did what, found by what is said of it, and as a file."""

from __future__ import annotations

import json
from typing import Final

from nicegui import ui

from gpupool_web.dialogs import tried
from gpupool_web.live import Live
from gpupool_web.markup import joined, tag
from gpupool_web.pages.frame import Frame, Site, opened
from gpupool_web.rest import Json
from gpupool_web.tables import button
from gpupool_web.views import access as view
from gpupool_web.words import noted

#: Entries of one page, and of one file.
ROWS, EXPORTED = 50, 1_000
#: REST's names of what entries are found by, and their titles.
_FILTERS: Final = {
    "by": noted("Who"),
    "action": noted("Action"),
    "target": noted("Of what"),
    "outcome": noted("Outcome"),
}


def add_page(site: Site) -> None:
    """Serve it at /audit."""

    @ui.page("/audit", title="gpupool · audit")
    async def audit() -> None:
        if frame := opened(site, "/audit"):
            await _Page(frame).show()


class _Page:
    """One viewer's look at it."""

    def __init__(self, frame: Frame) -> None:
        self.frame, self.say = frame, frame.say
        say = self.say
        #: The numbers below which the pages before this one began.
        self.below: list[str] = [""]
        with frame.main():
            with ui.element("div").classes("gp-title"):
                Live().show(tag("h1", say("Audit log")))
                ui.space()
                for name in ("CSV", "JSON"):
                    ui.button(name, icon="download", on_click=lambda name=name: self._download(name)).props(
                        f'outline no-caps aria-label="{say("Download as {format}", format=name)}"'
                    )
            with ui.element("section").classes("gp-panel"), ui.element("form").classes("gp-form") as form:
                form.on("submit.prevent", self._found_anew)
                self.fields = {name: ui.input(say(title)).props("outlined dense clearable") for name, title in _FILTERS.items()}
                for name in ("since", "until"):
                    title = say("Since (UTC)") if name == "since" else say("Until (UTC)")
                    self.fields[name] = ui.input(title).props("outlined dense type=datetime-local step=1 stack-label")
                ui.button(say("Find")).props("no-caps unelevated type=submit")
            with ui.element("section").classes("gp-panel"):
                self.listed = Live(do=self._turn)

    def _asked(self) -> dict[str, str]:
        asked = {name: (field.value or "").strip() for name, field in self.fields.items()}
        for name in ("since", "until"):
            if asked[name]:
                asked[name] += "Z"
        return {name: value for name, value in asked.items() if value}

    async def show(self) -> None:
        """Draw the page that is looked at."""
        asked = {**self._asked(), "limit": str(ROWS), **({"below": self.below[-1]} if self.below[-1] else {})}
        rows: list[Json] | None = await tried(self.say, self.frame.site.rest.get("/audit", self.frame.token, **asked))
        if rows is None:
            return
        newer = button("newer", "", self.say("Newer"), is_off=len(self.below) == 1)
        older = button("older", str(rows[-1]["seq"]) if rows else "", self.say("Older"), is_off=len(rows) < ROWS)
        self.listed.show(joined([view.audit(self.say, rows), tag("div", newer, older, class_="gp-pager")]))

    async def _found_anew(self) -> None:
        self.below = [""]
        await self.show()

    async def _turn(self, what: str, below: str) -> None:
        if what == "older":
            self.below.append(below)
        elif len(self.below) > 1:
            self.below.pop()
        await self.show()

    async def _download(self, name: str) -> None:
        rest, token, asked = self.frame.site.rest, self.frame.token, self._asked()
        if name == "CSV":
            if got := await tried(self.say, rest.fetch("/audit.csv", token, **asked)):
                ui.download(got[0], "gpupool-audit.csv")
            return
        rows = await tried(self.say, rest.get_slowly("/audit", token, limit=str(EXPORTED), **asked))
        if rows is not None:
            ui.download(json.dumps(rows, ensure_ascii=False, indent=1).encode(), "gpupool-audit.json")
