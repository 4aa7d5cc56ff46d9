"""How the pages look: one sheet, light and dark (theme.css), and the colours that tell tenants apart."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zlib import crc32

CSS: Final = Path(__file__).with_name("theme.css").read_text("utf-8")
#: These stay apart for people who see few colours (Okabe and Ito's palette, darkened for white text on them).
#: No red: red says that something is wrong.
PALETTE: Final = ("#0072B2", "#B45A00", "#00795C", "#A0488A", "#2F7FB5", "#7A6C00", "#5B5BB0", "#4F6B7A")


def colour_of(tenant: str) -> str:
    """Return the tenant's colour, the same on every page and every day."""
    return PALETTE[crc32(tenant.encode()) % len(PALETTE)]
