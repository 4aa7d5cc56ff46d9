"""The slices: who holds what, what it used, its story; and releasing one."""

from __future__ import annotations

from nicegui import ui

from gpupool_web import figures
from gpupool_web.pages.frame import Site, opened
from gpupool_web.rest import Json
from gpupool_web.snapshot import Snapshot, follow_all
from gpupool_wire.errors import GpupoolError

#: More rows than this are paged.
PAGE_ROWS = 50
_COLUMNS = (
    ("slice_id", "Slice", "left"),
    ("tenant", "Tenant", "left"),
    ("place", "Device", "left"),
    ("kind", "Kind", "left"),
    ("compute", "Compute", "right"),
    ("achieved", "Had in 10 s", "right"),
    ("policy", "Policy", "left"),
    ("memory", "Memory", "right"),
    ("used", "Device time", "right"),
    ("throttled", "Throttled", "right"),
    ("calls", "Calls", "right"),
    ("state", "State", "left"),
    ("age", "Age", "right"),
    ("label", "For", "left"),
)


def slice_table(slices: list[Json]) -> ui.table:
    """Draw the table of slices."""
    columns = [{"name": name, "label": label, "field": name, "align": align, "sortable": True} for name, label, align in _COLUMNS]
    rows = figures.slice_rows(slices, figures.utc_now())
    table = ui.table(columns=columns, rows=rows, row_key="slice_id", pagination=PAGE_ROWS if len(rows) > PAGE_ROWS else None)
    return table.props('flat dense no-data-label="No slice is live"').classes("w-full")


def add_page(site: Site) -> None:
    """Serve the slices at /slices."""

    @ui.page("/slices", title="gpupool · slices")
    async def slices() -> None:
        frame = opened(site, "/slices")
        if frame is None:
            return

        def draw(snapshot: Snapshot) -> None:
            with ui.element("section").classes("gp-panel"):
                ui.label("Slices").classes("gp-h").props("role=heading aria-level=2")
                ui.label("Click a row for its story.").classes("gp-quiet")
                table = slice_table(snapshot.slices)
                table.on("rowClick", lambda event: _show(site, frame.token, event.args[1]["slice_id"]))

        await follow_all(frame, draw)


async def _show(site: Site, token: str, slice_id: str) -> None:
    """Open a dialog with one slice's story."""
    try:
        slice_ = await site.rest.get(f"/slices/{slice_id}", token)
    except GpupoolError as error:
        ui.notify(str(error), type="negative")
        return
    with ui.dialog() as dialog, ui.card().classes("gp-panel").style("min-width:560px"):
        ui.label(slice_id).classes("gp-h")
        ui.label(
            f"{slice_['compute_pct']} % {slice_['policy']} · {figures.memory_text(slice_['memory_mib'])} · {slice_['tenant']}"
        ).classes("gp-quiet")
        ui.label(
            f"had {slice_['achieved_10s_pct']:.1f} % of the device in the last 10 s, {slice_['achieved_pct']:.1f} % since it came"
        ).classes("gp-quiet")
        for line in slice_["story"]:
            with ui.row().classes("items-baseline no-wrap"):
                ui.label(line["at"][11:19]).classes("gp-num gp-quiet")
                ui.label(line["text"])

        async def release() -> None:
            try:
                await site.rest.delete(f"/slices/{slice_id}", token)
            except GpupoolError as error:
                ui.notify(str(error), type="negative")
            else:
                ui.notify(f"{slice_id} is released", type="positive")
            dialog.close()

        with ui.row().classes("w-full justify-end"):
            ui.button("Release", on_click=release, color="negative").props("no-caps")
            ui.button("Close", on_click=dialog.close).props("flat no-caps")
    dialog.open()
