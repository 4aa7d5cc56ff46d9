"""Nodes, devices and slices together, for pages that show all three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nicegui import ui

from gpupool_web.pages.frame import Frame
from gpupool_web.rest import Json


@dataclass(slots=True)
class Snapshot:
    """The pool as one user may see it."""

    nodes: list[Json] = field(default_factory=list)
    devices: list[Json] = field(default_factory=list)
    slices: list[Json] = field(default_factory=list)


async def follow_all(frame: Frame, draw: Callable[[Snapshot], None]) -> None:
    """Draw a page of the whole pool now and whenever it looks different."""
    snapshot = Snapshot()

    @ui.refreshable
    def body() -> None:
        draw(snapshot)

    with frame.main():
        body()

    def told(name: str, rows: Any) -> None:  # noqa: ANN401 - JSON
        setattr(snapshot, name, rows)
        body.refresh()

    for name in ("nodes", "devices", "slices"):
        await frame.follow(partial(told, name), f"/{name}")
