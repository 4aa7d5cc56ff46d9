"""The month's report: who held and used what, what it cost, what was idle; as charts, as a table, and as files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from nicegui import ui

from gpupool_web import report_figures
from gpupool_web.dialogs import tell_trouble
from gpupool_web.live import Live
from gpupool_web.markup import tag
from gpupool_web.pages.frame import Frame, Site, opened
from gpupool_web.rest import Json
from gpupool_web.words import Words, noted
from gpupool_web.words.refusals import trouble
from gpupool_wire.errors import GpupoolError

GROUPINGS: Final = {
    "tenant": noted("by tenant"),
    "project": noted("by project"),
    "model": noted("by device model"),
    "node": noted("by node"),
    "day": noted("by day"),
    "week": noted("by week"),
}
#: Offered beside the viewer's own.
ZONES: Final = ("UTC", "Europe/Berlin", "Europe/London", "America/New_York", "Asia/Shanghai", "Asia/Tokyo", "Asia/Kolkata")
FORMATS: Final = ("pdf", "xlsx", "csv", "json")
#: Adjustments, advice: the first so many; files have them all.
MAX_LINES: Final = 10


def add_page(site: Site) -> None:
    """Serve the report at /reports."""

    @ui.page("/reports", title="gpupool · reports")
    def reports(period: str = "", zone: str = "UTC", by: str = "tenant") -> None:
        frame = opened(site, "/reports")
        if frame is None:
            return
        with frame.main():
            page = _Page(frame, period, zone, by)
        # The page is there at once; what takes its time to be made follows.
        ui.timer(0, page.show, once=True)


class _Page:
    """One viewer's report."""

    def __init__(self, frame: Frame, period: str, zone: str, by: str) -> None:
        self.site, self.token, self.say = frame.site, frame.token, frame.say
        say = self.say
        Live().show(tag("h1", say("Reports")))
        months = report_figures.months(datetime.now(UTC).date())
        with ui.element("section").classes("gp-panel"), ui.row().classes("items-end w-full"):
            self.period = self._choice(
                say("Month"), [*dict.fromkeys([*([period] if period else []), *months])], period or months[0]
            )
            self.zone = self._choice(say("Zone"), [*dict.fromkeys([zone, *ZONES])], zone)
            self.by = self._choice(
                say("Lines"), {name: say(title) for name, title in GROUPINGS.items()}, by if by in GROUPINGS else "tenant"
            )
            ui.space()
            for name in FORMATS:
                ui.button(name.upper(), icon="download", on_click=self._download_of(name)).props(
                    f'outline no-caps aria-label="{say("Download as {format}", format=name.upper())}"'
                )
        self.body = ui.element("div").style("display:contents")

    def _choice(self, label: str, options: list[str] | dict[str, str], value: str) -> ui.select:
        return ui.select(options, label=label, value=value, on_change=self.show).props("outlined dense").style("min-width:150px")

    def _asked(self) -> dict[str, str]:
        return {"zone": self.zone.value, "by": self.by.value}

    async def show(self) -> None:
        """Have the report made, and draw it."""
        self.body.clear()
        with self.body, ui.row().classes("items-center gp-panel"):
            ui.spinner(size="sm")
            ui.label(self.say("The report is being made …")).props('role="status"')
        try:
            report = await self.site.rest.get_slowly(f"/reports/{self.period.value}", self.token, **self._asked())
        except GpupoolError as error:
            self.body.clear()
            with self.body:
                ui.label(trouble(self.say, error)).classes("gp-panel gp-bad").props('role="alert"')
            return
        self.body.clear()
        with self.body:
            _draw(self.say, report)

    def _download_of(self, name: str) -> Callable[[], object]:
        async def download() -> None:
            try:
                content, file_name = await self.site.rest.fetch(
                    f"/reports/{self.period.value}", self.token, format=name, **self._asked()
                )
            except GpupoolError as error:
                tell_trouble(self.say, error)
                return
            ui.download.content(content, file_name)

        return download


def _draw(say: Words, report: Json) -> None:
    with ui.element("div").classes("gp-tiles"):
        for title, text, remark in report_figures.tiles(say, report):
            with ui.element("div").classes("gp-panel"):
                ui.label(title).classes("gp-tile-title")
                ui.label(text).classes("gp-tile-text").style("margin-bottom:2px")
                ui.label(remark).classes("gp-quiet")
    _charts(say, report)
    with ui.element("section").classes("gp-panel"):
        _heading(say(str(GROUPINGS.get(report["by"], report["by"]))))
        columns, rows = report_figures.table(say, report)
        ui.table(columns=columns, rows=rows, row_key="key", pagination=0).props("flat dense").classes("w-full gp-sums")
    with ui.element("section").classes("gp-panel"):
        _heading(say("About this report"))
        for line in report["about"]:
            ui.label(f"{line['what']}: {line['text']}").classes("gp-quiet")
        for note in report["notes"]:
            ui.label(note).classes("gp-quiet")
    _advice(say, report)


def _charts(say: Words, report: Json) -> None:
    if not report["rows"]:
        return
    cost = report_figures.cost_chart(say, report)
    with ui.element("div").style(f"display:grid;grid-template-columns:{'1fr 1fr' if cost else '1fr'};gap:20px;width:100%"):
        for title, chart in ((say("Device time"), report_figures.time_chart(say, report)), (say("Cost"), cost)):
            if chart:
                with ui.element("section").classes("gp-panel"):
                    _heading(title)
                    ui.echart(chart).style("height:300px;width:100%").props(f'role="img" aria-label="{title}"')


def _advice(say: Words, report: Json) -> None:
    if report["adjustments"]:
        with ui.element("section").classes("gp-panel"):
            _heading(say("Adjustments since the month was frozen"))
            for one in report["adjustments"][:MAX_LINES]:
                was, now = one["frozen_cents"] / 100, one["now_cents"] / 100
                line = say("{key}: {was} when frozen, {now} now", key=one["key"], was=f"{was:,.2f}", now=f"{now:,.2f}")
                ui.label(line).classes("gp-quiet")
    if report["advice"]:
        with ui.element("section").classes("gp-panel"):
            _heading(say("Held and hardly used"))
            for one in report["advice"][:MAX_LINES]:
                ui.label(one["text"]).classes("gp-quiet")


def _heading(text: str) -> None:
    ui.label(text).classes("gp-h").props("role=heading aria-level=2")
