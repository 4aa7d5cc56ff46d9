"""Settings: what an admin sets while the pool runs; prices and carbon factors, from a day on."""

from __future__ import annotations

from typing import Any, Final

from nicegui import ui

from gpupool_web.dialogs import tell_trouble, tried
from gpupool_web.live import Live
from gpupool_web.markup import tag
from gpupool_web.pages.frame import Frame, Site, opened
from gpupool_web.pages.navigation import ADMIN
from gpupool_web.rest import Json
from gpupool_web.views import access as view
from gpupool_web.words import noted
from gpupool_wire.errors import Conflict, GpupoolError

_TITLES: Final = {
    "placement": noted("Placement policy"),
    "audit_days": noted("Days the audit log is kept (empty: for good)"),
    "session_hours": noted("Hours a sign-in lasts"),
}
#: REST's names of a price's rates, and their titles.
_RATES: Final = {
    "energy_kwh": noted("Energy, per kWh"),
    "reserved_pct_hour": noted("Reserved, per 1 % and hour"),
    "memory_gib_hour": noted("Memory, per GiB and hour"),
    "used_hour": noted("Used, per hour of device time"),
    "burst_hour": noted("Burst, per hour of device time"),
    "idle_pct_hour": noted("Reserved and idle, per 1 % and hour"),
}


def add_page(site: Site) -> None:
    """Serve them at /settings."""

    @ui.page("/settings", title="gpupool · settings")
    async def settings() -> None:
        if frame := opened(site, "/settings"):
            await _Page(frame).show()


class _Page:
    """One viewer's look at them."""

    def __init__(self, frame: Frame) -> None:
        self.frame, self.say = frame, frame.say
        self.is_admin = frame.role == ADMIN
        self.known: dict[str, Any] = {}
        say = self.say
        with frame.main():
            Live().show(tag("h1", say("Settings")))
            with ui.element("section").classes("gp-panel"):
                Live().show(tag("div", tag("h2", say("The pool")), class_="gp-head"))
                self.form = ui.element("div").classes("gp-form")
            with ui.element("section").classes("gp-panel"):
                self._head(say("Prices"), say("Set a price"), self._new_price)
                self.prices = Live()
            with ui.element("section").classes("gp-panel"):
                self._head(say("Carbon factors"), say("Set a carbon factor"), self._new_factor)
                self.factors = Live()

    def _head(self, title: str, do: str, on_click: Any) -> None:  # noqa: ANN401 - NiceGUI's handlers
        with ui.element("div").classes("gp-head"):
            Live().show(tag("h2", title))
            if self.is_admin:
                ui.button(do, on_click=on_click).props("no-caps outline dense").classes("q-px-sm")

    async def show(self) -> None:
        """Draw everything anew."""
        rest, token = self.frame.site.rest, self.frame.token
        if (found := await tried(self.say, rest.get("/settings", token))) is not None:
            self._draw(found)
        if (rows := await tried(self.say, rest.get("/prices", token))) is not None:
            self.prices.show(view.prices(self.say, rows))
        if (rows := await tried(self.say, rest.get("/carbon", token))) is not None:
            self.factors.show(view.factors(self.say, rows))

    def _draw(self, found: list[Json]) -> None:
        self.known = {one["name"]: one["value"] for one in found}
        self.form.clear()
        with self.form:
            fields = {one["name"]: self._field(one) for one in found if one["name"] in _TITLES}
            if self.is_admin:
                ui.button(self.say("Save"), on_click=lambda: self._save(fields)).props("no-caps unelevated")

    def _field(self, one: Json) -> ui.select | ui.number:
        title = self.say(_TITLES[one["name"]])
        is_off = one["fixed"] or not self.is_admin
        field: ui.select | ui.number
        if one["name"] == "placement":
            field = ui.select(one["may_be"].split(", "), label=title, value=one["value"]).style("min-width:170px")
        else:
            field = ui.number(title, value=one["value"], min=1, precision=0).style("min-width:300px")
        if is_off:
            field.disable()
        return field.props("outlined dense")

    async def _save(self, fields: dict[str, ui.select | ui.number]) -> None:
        wanted = {name: _whole(field.value) for name, field in fields.items() if field.enabled}
        changed = {name: value for name, value in wanted.items() if value != self.known[name]}
        body = {"values": changed, "expected": {name: self.known[name] for name in changed}}
        try:
            found: Any = await self.frame.site.rest.patch("/settings", self.frame.token, body)
        except Conflict as error:
            tell_trouble(self.say, error)
            await self.show()
        except GpupoolError as error:
            tell_trouble(self.say, error)
        else:
            ui.notify(self.say("It holds from now on."), type="positive")
            self._draw(found)

    def _new_price(self) -> None:
        titles = {"valid_from": self.say("Valid from"), "currency": self.say("Currency"), "model": self.say("Model (empty: all)")}
        titles |= {name: self.say(title) for name, title in _RATES.items()}
        self._ask(self.say("Set a price"), "/prices", titles, {"currency": "EUR", **dict.fromkeys(_RATES, "0")})

    def _new_factor(self) -> None:
        titles = {"valid_from": self.say("Valid from"), "grams_per_kwh": self.say("Grams of CO₂ per kWh")}
        self._ask(self.say("Set a carbon factor"), "/carbon", titles, {})

    def _ask(self, title: str, path: str, titles: dict[str, str], values: dict[str, str]) -> None:
        """Ask for an entry, and enter it."""
        say = self.say
        with ui.dialog().props(f'aria-label="{title}"') as dialog, ui.card():
            ui.label(title).classes("gp-h").props("role=heading aria-level=2")
            with ui.element("div").classes("gp-grid2 w-full"):
                fields = {
                    name: ui.input(text, value=values.get(name, "")).props("outlined dense") for name, text in titles.items()
                }
            fields["valid_from"].props("type=date stack-label")

            async def enter() -> None:
                body = {name: (field.value or "").strip() for name, field in fields.items()}
                if await tried(self.say, self.frame.site.rest.post(path, self.frame.token, body), say("It is entered.")):
                    dialog.close()
                    await self.show()

            with ui.row().classes("w-full justify-end"):
                ui.button(say("Cancel"), on_click=dialog.close).props("flat no-caps")
                ui.button(say("Enter"), on_click=enter).props("no-caps unelevated")
        dialog.open()


def _whole(value: Any) -> Any:  # noqa: ANN401 - a field's
    """Return a field's number as JSON's integer; an empty one is null."""
    return int(value) if isinstance(value, float) and value.is_integer() else None if value == "" else value
