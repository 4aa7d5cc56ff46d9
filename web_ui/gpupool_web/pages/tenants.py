"""Tenants and quotas: the tree of accounts, and setting a quota with its effect shown first."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from gpupool_web.dialogs import tell_trouble, tried
from gpupool_web.figures import link
from gpupool_web.live import Live
from gpupool_web.markup import tag
from gpupool_web.pages.frame import Frame, Site, opened
from gpupool_web.pages.navigation import ADMIN
from gpupool_web.rest import Json
from gpupool_web.views import tenants as view
from gpupool_web.words import noted
from gpupool_wire.errors import Conflict, GpupoolError

#: What can be set: REST's name, how the quota names it, its title, its unit.
_FIELDS = (
    ("compute", "compute_pct", noted("Compute limit"), "%"),
    ("guaranteed_compute", "guaranteed_pct", noted("Guaranteed compute"), "%"),
    ("memory", "memory_mib", noted("Memory limit"), ""),
    ("guaranteed_memory", "guaranteed_mib", noted("Guaranteed memory"), ""),
    ("slices", "slices", noted("Slices at a time"), ""),
    ("max_priority", "max_priority", noted("Highest priority"), ""),
)
_AMOUNTS = ("memory", "guaranteed_memory")


def add_page(site: Site) -> None:
    """Serve the tenants at /tenants."""

    @ui.page("/tenants", title="gpupool · tenants")
    async def tenants() -> None:
        if frame := opened(site, "/tenants"):
            await _Page(frame).show()


class _Page:
    """One viewer's look at the tenants."""

    def __init__(self, frame: Frame) -> None:
        self.frame, self.say = frame, frame.say
        self.rows: list[Json] = []
        self.used: dict[str, float] = {}
        with frame.main():
            with ui.element("div").classes("gp-title"):
                Live().show(tag("h1", self.say("Tenants & quotas")))
                ui.space()
                if frame.role == ADMIN:
                    ui.button(self.say("Set a quota"), on_click=self._new).props("no-caps unelevated")
            with ui.element("section").classes("gp-panel"):
                self.listed = Live(do=lambda _, account: self._edit(account))

    async def show(self) -> None:
        """Draw the tenants, and follow them."""
        await self.frame.follow(self._told_use, "/overview")
        await self.frame.follow(self._told, "/tenants")

    def _told(self, rows: list[Json]) -> None:
        self.rows = rows
        self._draw()

    def _told_use(self, seen: Json) -> None:
        self.used = {one["tenant"]: one["busy_pct"] for one in seen["tenants"]}
        self._draw()

    def _draw(self) -> None:
        self.listed.show(view.tenants(self.say, self.rows, self.used, may_set=self.frame.role == ADMIN))

    def _new(self) -> None:
        _Editor(self.frame, "", {}).open()

    def _edit(self, account: str) -> None:
        quota: Json = next((one["quota"] for one in self.rows if one["tenant"] == account), {})
        _Editor(self.frame, account, quota).open()


class _Editor:
    """The dialog in which a quota is set."""

    def __init__(self, frame: Frame, account: str, quota: Json) -> None:
        self.frame, self.say = frame, frame.say
        self.revision = quota.get("revision", 0)
        title = self.say("Quota of {account}", account=account) if account else self.say("Set a quota")
        with ui.dialog().props(f'aria-label="{self.say("Quota")}"') as self.dialog, ui.card():
            ui.label(title).classes("gp-h").props("role=heading aria-level=2")
            ui.label(self.say("200 % are two whole devices. What is empty is not limited.")).classes("gp-quiet")
            self.account = (
                ui.input(self.say("Tenant, or tenant/project"), value=account).props("outlined dense").classes("w-full")
            )
            self.account.set_visibility(not account)
            with ui.element("div").classes("gp-grid2 w-full"):
                self.fields = {name: self._field(name, key, title, unit, quota) for name, key, title, unit in _FIELDS}
            self.effect = Live().props('role="status"').classes("w-full")
            with ui.row().classes("w-full justify-end"):
                ui.button(self.say("Cancel"), on_click=self.dialog.close).props("flat no-caps")
                ui.button(self.say("Show the effect"), on_click=self.preview).props("outline no-caps")
                ui.button(self.say("Save"), on_click=self.save).props("no-caps unelevated")

    def _field(self, name: str, key: str, title: str, unit: str, quota: Json) -> ui.input | ui.number:
        value = quota.get(key)
        said = f"{self.say(title)} ({unit})" if unit else self.say(title)
        if name in _AMOUNTS:
            shown = "" if value is None else f"{value}MiB"
            return ui.input(said, value=shown, on_change=self._changed).props('outlined dense placeholder="64GiB"')
        return ui.number(said, value=value, min=0, precision=0, on_change=self._changed).props("outlined dense")

    def open(self) -> None:
        """Show it."""
        self.dialog.open()

    def _changed(self) -> None:
        self.effect.show(tag("p", self.say("Not looked at yet."), class_="gp-quiet"))

    def _asked(self) -> tuple[str, dict[str, Any]]:
        tenant, _, project = (self.account.value or "").strip().partition("/")
        path = link("/quotas/", tenant) + (link("/projects/", project) if project else "")
        return path, view.as_request({name: field.value for name, field in self.fields.items()}, self.revision)

    async def preview(self) -> None:
        """Show what the quota would change."""
        path, body = self._asked()
        if found := await tried(self.say, self.frame.site.rest.post(f"{path}/preview", self.frame.token, body)):
            self.effect.show(view.effect(self.say, found))

    async def save(self) -> None:
        """Set the quota; who was too late is told, and shown what another admin set."""
        path, body = self._asked()
        try:
            await self.frame.site.rest.put(path, self.frame.token, body)
        except Conflict as error:
            said = self.say("Another admin changed this quota meanwhile. Look at it, and set it again.")
            self.effect.show(tag("p", said, class_="gp-bad", role="alert"))
            tell_trouble(self.say, error)
        except GpupoolError as error:
            tell_trouble(self.say, error)
        else:
            ui.notify(self.say("The quota is set."), type="positive")
            self.dialog.close()
