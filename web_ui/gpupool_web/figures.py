"""Numbers for people: memory, shares, spans, and bars of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from gpupool_web.markup import Html, tag
from gpupool_web.rest import Json
from gpupool_web.theme import colour_of
from gpupool_web.words import Words, noted

#: States as REST names them: how they are said, and how they look.
STATES = {
    "up": (noted("up"), "gp-good"),
    "lost": (noted("lost"), "gp-bad"),
    "cordoned": (noted("cordoned"), "gp-warn"),
    "draining": (noted("draining"), "gp-warn"),
    "live": (noted("live"), "gp-good"),
    "paused": (noted("paused"), "gp-warn"),
    "stranded": (noted("stranded"), "gp-bad"),
    "reserved": (noted("reserved"), ""),
    "released": (noted("released"), ""),
    "expired": (noted("expired"), ""),
    "evicted": (noted("evicted"), "gp-warn"),
}


def memory_text(mib: float) -> str:
    """Return memory for people: 512 MiB, 1.5 GiB, 12 GiB, 1.2 TiB."""
    if mib < 1024:
        return f"{mib:g} MiB"
    unit, size = ("GiB", mib / 1024) if mib < 1024**2 else ("TiB", mib / 1024**2)
    return f"{size:.1f}".removesuffix(".0") + f" {unit}"


def share_text(say: Words, mib: float, of_mib: float) -> str:
    """Return a part of some memory, with the unit once where it is the same: 1.5 of 12 GiB."""
    part, whole = memory_text(mib), memory_text(of_mib)
    unit = whole.rpartition(" ")[2]
    return say("{part} of {whole}", part=part.removesuffix(f" {unit}"), whole=whole)


def percent(part: float, whole: float) -> float:
    """Return a part in per cent of a whole, 0 where there is nothing."""
    return 100 * part / whole if whole else 0.0


def span_text(seconds: float) -> str:
    """Return a span of time for people: 45 s, 12 min, 3 h 5 min, 2 d 4 h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def badge(say: Words, state: str) -> Html:
    """Return a state as people see it."""
    title, look = STATES.get(state, (state, ""))
    return tag("span", say(title), class_=f"gp-badge {look}".strip())


def link(path: str, *names: str) -> str:
    """Return an address with names in it, whatever characters they have."""
    return path + "/".join(quote(name, safe="") for name in names)


def slice_link(slice_id: str) -> Html:
    """Return the way to a slice's page."""
    return tag("a", slice_id, href=link("/slices/", slice_id))


def node_link(node: str, device: str = "") -> Html:
    """Return the way to a node's page, named with a device of it."""
    return tag("a", f"{node} / {device}" if device else node, href=link("/nodes/", node))


def level_bar(used_pct: float, held_pct: float, label: str) -> Html:
    """Return a bar of what is used within what is held, both in per cent of the bar."""
    used, held = min(100.0, used_pct), min(100.0, held_pct)
    parts = [(used, "gp-used"), (max(0.0, held - used), "gp-held")]
    inner = (tag("span", class_=look, style=f"width:{width:.2f}%") for width, look in parts if width > 0)
    return tag("div", *inner, class_="gp-bar", role="img", aria_label=label)


def slices_bar(say: Words, held: Sequence[Json], widths: Sequence[float], label: str) -> Html:
    """Return the bar of a device: each slice as wide as its share (per cent), in its tenant's colour."""
    parts = []
    for one, width in zip(held, widths, strict=True):
        if width <= 0:
            continue
        name, colour = (one["tenant"], colour_of(one["tenant"])) if one["slice_id"] else (say("others"), "#5b6673")
        size = f"{one['compute_pct']} %, {memory_text(one['memory_mib'])}, {one['achieved_10s_pct']:.1f} %"
        title = " · ".join(filter(None, (one["slice_id"], name, one["label"], size)))
        style = f"width:{width:.2f}%;background:{colour}" + (";opacity:.55" if one["state"] == "paused" else "")
        parts.append(tag("span", name, style=style, title=title))
    return tag("div", *parts, class_="gp-bar gp-bar-tall", role="img", aria_label=label)
