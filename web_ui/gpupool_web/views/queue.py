"""The queue: who waits, since when and why; what would become of a request; room that is reserved."""

from __future__ import annotations

from gpupool_web import figures
from gpupool_web.figures import memory_text
from gpupool_web.markup import Html, joined, moment, tag
from gpupool_web.rest import Json
from gpupool_web.tables import Column, button, table
from gpupool_web.words import Words

#: Devices of an explanation that are listed.
MAX_DEVICES = 12


def queue(say: Words, rows: list[Json], *, may_cancel: bool) -> Html:
    """Return what waits, in the order in which it is served."""
    columns = [
        Column(say("Position"), is_number=True),
        Column(say("Tenant")),
        Column(say("Asks for")),
        Column(say("Priority"), is_number=True),
        Column(say("Waits for"), is_number=True),
        Column(say("Because")),
        Column(say("Who")),
        Column(""),
    ]
    return table(columns, [_row(say, one, may_cancel) for one in rows], say("Queue"), empty=say("Nobody waits."))


def _row(say: Words, one: Json, may_cancel: bool) -> list[str]:
    request = one["request_id"]
    size = f"{one['compute_pct']} %, {memory_text(one['memory_mib'])}" + (f" × {one['gpus']}" if one["gpus"] > 1 else "")
    actions: list[str] = [button("explain", request, say("Explain"), label=say("Explain request {request}", request=request))]
    if may_cancel:
        said = say("Cancel request {request}", request=request)
        actions += [" ", button("cancel", request, say("Cancel"), is_danger=True, label=said)]
    return [
        f"{one['position']:,}",
        f"{one['tenant']}/{one['project']}" if one["project"] else one["tenant"],
        size,
        str(one["priority"]),
        moment(one["waits_since"]),
        one["reason"],
        one["label"] or one["holder"],
        tag("span", *actions, style="white-space:nowrap"),
    ]


def explanation(say: Words, found: Json) -> Html:
    """Return what would become of a request, or why it waits."""
    fits = found["node"] is not None
    verdict = tag(
        "span",
        say("would be granted") if fits else say("would not be granted now"),
        class_=f"gp-badge {'gp-good' if fits else 'gp-warn'}",
    )
    parts: list[str] = [tag("p", verdict, " ", found["message"])]
    if found["quota"]:
        parts.append(tag("p", tag("b", say("Quota"), ": "), found["quota"]))
    for title, lines in ((say("Who would give way"), found["gives_way"]), (say("What would admit it"), found["changes"])):
        if lines:
            parts += [tag("h3", title, class_="gp-h"), tag("ul", *(tag("li", line) for line in lines), class_="gp-list")]
    rows = [
        [
            figures.node_link(one["node"], one["device"]),
            f"{one['compute_free_pct']} %",
            memory_text(one["memory_free_mib"]),
            one["blocked_by"] or say("fits"),
        ]
        for one in found["devices"][:MAX_DEVICES]
    ]
    columns = [
        Column(say("Device")),
        Column(say("Free"), is_number=True),
        Column(say("Free memory"), is_number=True),
        Column(say("Because")),
    ]
    parts.append(table(columns, rows, say("Devices"), empty=say("No device is there.")))
    if (more := len(found["devices"]) - len(rows)) > 0:
        parts.append(tag("p", say("and {n} more", n=f"{more:,}"), class_="gp-quiet"))
    return joined(parts)


def reservations(say: Words, rows: list[Json]) -> Html:
    """Return room that is kept for somebody."""
    columns = [
        Column(say("Reservation")),
        Column(say("Tenant")),
        Column(say("Asks for")),
        Column(say("From")),
        Column(say("Until")),
        Column(say("Kept"), is_number=True),
        Column(say("Used"), is_number=True),
        Column(say("Lacks")),
    ]
    cells = [
        [
            one["reservation_id"],
            f"{one['tenant']}/{one['project']}" if one["project"] else one["tenant"],
            f"{one['gpus']} × {one['compute_pct']} %, {memory_text(one['memory_mib'])}",
            moment(one["start"], "full"),
            moment(one["end"], "full"),
            str(one["kept"]),
            str(one["used"]),
            one["lacking"],
        ]
        for one in rows
    ]
    return table(columns, cells, say("Reservations"), empty=say("Nothing is reserved."))
