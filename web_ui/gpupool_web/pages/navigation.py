"""Which pages there are, in what order, and who may see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpupool_web.words import noted

ADMIN, FINANCE, TENANT = noted("admin"), noted("finance"), noted("tenant")
EVERYBODY: Final = (ADMIN, FINANCE, TENANT)


@dataclass(frozen=True, slots=True)
class Stop:
    """One page of the navigation."""

    path: str
    title: str
    #: The strokes of its sign, in a box of 20 by 20 (an SVG path).
    sign: str
    roles: tuple[str, ...] = EVERYBODY

    def holds(self, here: str) -> bool:
        """Whether an address belongs to this page."""
        return here == self.path or (self.path != "/" and here.startswith(f"{self.path}/"))


PAGES: Final = (
    Stop("/", noted("Overview"), "M3 10h5V3H3zM12 17h5v-7h-5zM12 6h5V3h-5zM3 17h5v-3H3z"),
    Stop("/devices", noted("Devices"), "M3 5h14v10H3zM7 8h6v4H7zM6 15v2M10 15v2M14 15v2M6 3v2M10 3v2M14 3v2"),
    Stop("/slices", noted("Slices"), "M10 3a7 7 0 1 0 7 7h-7zM13 2.5a7 7 0 0 1 4.5 4.5H13z"),
    Stop("/queue", noted("Queue"), "M3 5h14M3 10h10M3 15h6"),
    Stop(
        "/tenants",
        noted("Tenants & quotas"),
        "M7 9a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM2 17c0-3 2-5 5-5s5 2 5 5M13 4a3 3 0 0 1 0 5M14 12c2.5 0 4 2 4 5",
    ),
    Stop("/reports", noted("Reports"), "M5 2h7l4 4v12H5zM8 14v-3M11 14V9M14 14v-2"),
    Stop("/audit", noted("Audit log"), "M4 3h12v14H4zM7 7h6M7 10h6M7 13h4", (ADMIN, FINANCE)),
    Stop("/users", noted("Users & tokens"), "M10 10a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM3 18c0-4 3-6 7-6s7 2 7 6", (ADMIN,)),
    Stop("/settings", noted("Settings"), "M3 6h8M15 6h2M3 14h2M9 14h8M13 4v4M7 12v4", (ADMIN, FINANCE)),
)
