"""Devices: each a bar of its slices, what it does, and what its board says of itself."""

from __future__ import annotations

from typing import Final

from gpupool_web import figures
from gpupool_web.figures import badge, percent, share_text
from gpupool_web.markup import Html, joined, moment, tag
from gpupool_web.rest import Json
from gpupool_web.tables import button, facts
from gpupool_web.words import Words, noted

#: What a board says of itself, as REST names it: its title and its unit.
BOARD: Final = {
    "temperature_c": (noted("Temperature"), "°C"),
    "power_w": (noted("Power"), "W"),
    "clock_mhz": (noted("Clock"), "MHz"),
    "memory_clock_mhz": (noted("Memory clock"), "MHz"),
    "ecc_errors": (noted("ECC errors"), ""),
    "xid": (noted("Last Xid"), ""),
}


def devices(say: Words, rows: list[Json], *, empty: str) -> Html:
    """Return devices one below the other."""
    if not rows:
        return tag("p", empty, class_="gp-quiet")
    return joined([_device(say, device) for device in rows])


def _device(say: Words, device: Json) -> Html:
    held = device["held"] or []
    memory = device["memory_mib"]
    state = "" if device["state"] == "up" else badge(say, device["state"])
    name = tag(
        "div",
        tag("p", figures.node_link(device["node"], device["device"])),
        tag("p", device["model"], " ", tag("span", device["kind"], class_="gp-badge"), " ", state, class_="gp-quiet"),
    )
    shares = [float(one["compute_pct"]) for one in held]
    busy = [one["achieved_10s_pct"] for one in held]
    room = [percent(one["memory_mib"], memory) for one in held]
    allocated = device["compute_allocated_pct"]
    bars = tag(
        "div",
        *_bar(say, say("compute"), held, shares, f"{allocated} %"),
        *_bar(say, say("busy"), held, busy, f"{device['busy_pct']:.0f} %"),
        *_bar(say, say("memory"), held, room, share_text(say, device["memory_allocated_mib"], memory)),
        class_="gp-bars",
    )
    return tag("div", name, bars, _board(say, device), class_="gp-device")


def _bar(say: Words, title: str, held: list[Json], widths: list[float], text: str) -> list[Html]:
    bar = figures.slices_bar(say, held, widths, say("{what} by slice: {text}", what=title, text=text))
    return [tag("span", title), bar, tag("span", text, class_="gp-num")]


def _board(say: Words, device: Json) -> Html:
    """Return what the board says of itself; nothing is made up where it says nothing."""
    known = [
        f"{say(title)} {device[name]:g} {unit}".strip() for name, (title, unit) in BOARD.items() if device.get(name) is not None
    ]
    missing = [say(title) for name, (title, _) in BOARD.items() if device.get(name) is None]
    lines = [tag("span", one, class_="gp-num") for one in known]
    if missing:
        what = ", ".join(missing)
        said = say("not measured") if known else say("temperature, power, clocks, ECC and Xid: not measured")
        lines.append(tag("span", f"{what}: {said}" if known else said, class_="gp-quiet gp-small"))
    return tag("div", *lines, class_="gp-board")


def node_head(say: Words, node: Json) -> Html:
    """Return a node's name and state."""
    return tag("div", tag("h1", node["node"]), badge(say, node["state"]), class_="gp-title")


def node_facts(say: Words, node: Json) -> Html:
    """Return what is known of a node."""
    labels = [tag("span", f"{key}={value}", class_="gp-badge") for key, value in sorted(node["labels"].items())]
    return facts(
        [
            (say("Devices"), str(node["devices"])),
            (say("Slices"), str(node["slices"])),
            (say("Door"), node["door"]),
            (say("Joined"), moment(node["joined_at"])),
            (say("Last heard"), moment(node["last_seen_at"], none=say("not since the broker's start"))),
            (say("Labels"), joined([one for label in labels for one in (label, " ")]) if labels else say("none")),
        ]
    )


def node_actions(say: Words, node: Json) -> Html:
    """Return what an admin may do with a node."""
    is_taken = node["state"] in ("cordoned", "draining")
    if is_taken:
        return tag("div", button("uncordon", node["node"], say("Put back into service")))
    return tag(
        "div",
        button("cordon", node["node"], say("Cordon")),
        " ",
        button("drain", node["node"], say("Drain"), is_danger=True),
    )
