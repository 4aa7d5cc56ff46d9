"""One slice: what it was promised and what it had, what it holds, its story; resize, pause, release."""

from __future__ import annotations

from nicegui import ui

from gpupool_web.dialogs import sure, tried
from gpupool_web.figures import link, memory_text
from gpupool_web.live import Live
from gpupool_web.pages.frame import Frame, Site, opened
from gpupool_web.pages.navigation import ADMIN, TENANT
from gpupool_web.rest import Json, Rest
from gpupool_web.views import slices as view
from gpupool_web.views.story import story

#: Sizes of memory that the slider steps through.
MEMORY_STEP_MIB = 64


def add_page(site: Site) -> None:
    """Serve a slice at /slices/ID."""

    @ui.page("/slices/{slice_id:path}", title="gpupool · slice")
    async def slice_page(slice_id: str) -> None:
        if frame := opened(site, "/slices"):
            await _Page(frame, slice_id).show()


class _Page:
    """One viewer's look at one slice."""

    def __init__(self, frame: Frame, slice_id: str) -> None:
        self.frame, self.say, self.slice_id = frame, frame.say, slice_id
        self.path = link("/slices/", slice_id)
        self.is_shown = False
        with frame.main():
            with ui.element("div").classes("gp-title"):
                self.head = Live()
                ui.space()
                self.actions = ui.element("div").classes("gp-form")
            with ui.element("section").classes("gp-panel"):
                self.summary = Live()
            with ui.element("div").classes("gp-grid21"):
                with ui.element("section").classes("gp-panel"):
                    self.course = Live()
                self.size = ui.element("section").classes("gp-panel")
                self.size.set_visibility(False)
            with ui.element("section").classes("gp-panel"):
                self.story = Live()

    async def show(self) -> None:
        """Draw the slice, and follow it."""
        await self.frame.follow(self.draw, self.path, brief="true")
        await self.frame.follow(lambda found: self.course.show(view.course(self.say, found)), f"{self.path}/course")

    def draw(self, one: Json) -> None:
        """Draw the slice as REST tells it."""
        self.head.show(view.head(self.say, one))
        self.summary.show(view.summary(self.say, one))
        self.story.show(story(self.say, one))
        if self.frame.role in (ADMIN, TENANT):
            self._steer(one)

    def _steer(self, one: Json) -> None:
        """Draw what may be done with it, once, and keep it fit to its state."""
        if not self.is_shown:
            self.is_shown = True
            self._draw_actions()
            self._draw_size(one)
        self.pause.set_visibility(one["state"] == "live")
        self.resume.set_visibility(one["state"] == "paused")
        self.release.set_visibility(one["ended_at"] is None)
        self.size.set_visibility(one["state"] == "live")

    def _draw_actions(self) -> None:
        say = self.say
        with self.actions:
            self.pause = ui.button(say("Pause"), on_click=lambda: self._ask("pause", say("It stands still."))).props(
                "outline no-caps"
            )
            self.resume = ui.button(say("Resume"), on_click=lambda: self._ask("resume", say("It goes on."))).props(
                "outline no-caps"
            )
            self.release = ui.button(say("Release"), on_click=self._release, color="negative").props("no-caps unelevated")

    def _draw_size(self, one: Json) -> None:
        say = self.say
        with self.size:
            ui.label(say("Size")).classes("gp-h").props("role=heading aria-level=2")
            compute_said = ui.label().classes("gp-quiet q-mt-md")
            compute = ui.slider(min=1, max=100, value=one["compute_pct"]).props(
                f'label aria-label="{say("Compute in per cent")}"'
            )
            memory_said = ui.label().classes("gp-quiet")
            most = max(4 * one["memory_mib"], 16 * 1024)
            memory = ui.slider(min=MEMORY_STEP_MIB, max=most, step=MEMORY_STEP_MIB, value=one["memory_mib"])
            memory.props(f'aria-label="{say("Memory in MiB")}"')

            def tell() -> None:
                compute_said.set_text(say("Compute: {pct} %", pct=f"{compute.value:g}"))
                memory_said.set_text(say("Memory: {size}", size=memory_text(memory.value)))

            async def resize() -> None:
                body = {"compute": int(compute.value), "memory": int(memory.value)}
                await tried(self.say, self._rest.patch(self.path, self.frame.token, body), say("The slice has its new size."))

            for slider in (compute, memory):
                slider.on_value_change(tell)
            tell()
            ui.label(say("More compute counts from its next turn; less memory than it uses is refused.")).classes(
                "gp-quiet gp-small"
            )
            ui.button(say("Resize"), on_click=resize).props("no-caps unelevated").classes("q-mt-md")

    @property
    def _rest(self) -> Rest:
        return self.frame.site.rest

    async def _ask(self, what: str, done: str) -> None:
        await tried(self.say, self._rest.post(f"{self.path}/{what}", self.frame.token), done)

    async def _release(self) -> None:
        say = self.say
        question = say("Release {slice}?", slice=self.slice_id)
        if await sure(say, question, say("What runs on it ends at once, and its room is free for others."), say("Release")):
            await tried(self.say, self._rest.delete(self.path, self.frame.token), say("It is released."))
