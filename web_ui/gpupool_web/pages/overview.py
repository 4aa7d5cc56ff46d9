"""The overview: what there is, what is given out, and to whom; readable in five seconds."""

from __future__ import annotations

from nicegui import ui

from gpupool_web import figures
from gpupool_web.figures import Figure, Segment
from gpupool_web.pages.frame import Site, opened
from gpupool_web.pages.slices import slice_table
from gpupool_web.rest import Json
from gpupool_web.snapshot import Snapshot, follow_all


def add_page(site: Site) -> None:
    """Serve the overview at /."""

    @ui.page("/", title="gpupool · overview")
    async def overview() -> None:
        if frame := opened(site, "/"):
            await follow_all(frame, draw)


def draw(snapshot: Snapshot) -> None:
    """Draw the page of a snapshot."""
    with ui.element("div").classes("gp-tiles"):
        for figure in figures.overview(snapshot.nodes, snapshot.devices, snapshot.slices):
            _tile(figure)
    with ui.element("section").classes("gp-panel"):
        ui.label("Devices").classes("gp-h").props("role=heading aria-level=2")
        if not snapshot.devices:
            ui.label("No agent has joined yet: run `gpupool agent` on a machine with a GPU.").classes("gp-quiet")
        for device in snapshot.devices:
            _device(device, snapshot.slices)
    with ui.element("section").classes("gp-panel"):
        ui.label("Live slices").classes("gp-h").props("role=heading aria-level=2")
        slice_table(snapshot.slices)
    with ui.element("section").classes("gp-panel"):
        ui.label("Nodes").classes("gp-h").props("role=heading aria-level=2")
        _nodes(snapshot.nodes)


def _tile(figure: Figure) -> None:
    with ui.element("div").classes("gp-panel"):
        ui.label(figure.title).classes("gp-tile-title")
        ui.label(figure.text).classes("gp-tile-text")
        with ui.element("div").classes("gp-bar gp-bar-thin"):
            ui.element("div").style(f"width:{100 * figure.fraction:.1f}%;background:var(--accent)")


def _device(device: Json, slices: list[Json]) -> None:
    with ui.element("div").classes("gp-device"):
        with ui.element("div"):
            ui.label(f"{device['node']} / {device['device']}").style("font-weight:600")
            with ui.row().classes("items-center gap-0"):
                ui.label(device["model"]).classes("gp-quiet")
                ui.label(device["kind"]).classes("gp-badge")
                if device["state"] != "up":
                    ui.label(device["state"]).classes("gp-badge gp-bad")
        with ui.element("div").style("display:flex;flex-direction:column;gap:6px"):
            _bar(figures.compute_segments(device, slices), "compute")
            _bar(figures.busy_segments(device, slices), "compute in use")
            _bar(figures.memory_segments(device, slices), "memory")
        with ui.element("div").style("display:flex;flex-direction:column;gap:6px"):
            ui.label(f"compute {device['compute_allocated_pct']} %").classes("gp-num").style("line-height:20px")
            ui.label(f"in use {device['busy_pct']:.0f} %").classes("gp-num").style("line-height:20px")
            used, offered = device["memory_allocated_mib"], device["memory_mib"]
            ui.label(f"{figures.memory_text(used)} of {figures.memory_text(offered)}").classes("gp-num").style("line-height:20px")


def _bar(segments: list[Segment], what: str) -> None:
    with ui.element("div").classes("gp-bar").props(f'role="img" aria-label="{what} by slice"'):
        for segment in segments:
            part = ui.element("div").classes("gp-segment").style(f"width:{segment.width:.2f}%;background:{segment.colour}")
            with part:
                ui.label(segment.label)
                ui.tooltip(segment.title)


def _nodes(nodes: list[Json]) -> None:
    columns = [
        {"name": name, "label": label, "field": name, "align": align, "sortable": True}
        for name, label, align in (
            ("node", "Node", "left"),
            ("state", "State", "left"),
            ("devices", "Devices", "right"),
            ("slices", "Slices", "right"),
            ("door", "Door", "left"),
        )
    ]
    ui.table(columns=columns, rows=nodes, row_key="node").props("flat dense").classes("w-full")
