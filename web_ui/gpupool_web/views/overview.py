"""The overview: how much there is, is held and is used; what is wrong; who waits; who holds how much."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from gpupool_web import charts, figures
from gpupool_web.charts import Series
from gpupool_web.figures import memory_text, percent
from gpupool_web.markup import Html, joined, moment, tag
from gpupool_web.rest import Json
from gpupool_web.tables import Column, table
from gpupool_web.theme import colour_of
from gpupool_web.words import Words, noted

ALARMS: Final = {
    "node_lost": noted("Node {subject} is lost; {devices} devices are away."),
    "slice_stranded": noted("Slice {subject} of {tenant} has lost its device: {reason}"),
    "slice_starving": noted("Slice {subject} of {tenant} starves: it has {achieved_pct} % of its {compute_pct} %."),
    "slice_noticed": noted("Slice {subject} of {tenant} will be evicted: {reason}"),
    "quota_over": noted("{subject} holds more {dimension} than its quota: {held} of {limit}."),
    "quota_near": noted("{subject} is near its quota of {dimension}: {held} of {limit}."),
    "reservation_lacking": noted("Reservation {subject} lacks room: {reason}"),
}
DIMENSIONS: Final = {"compute": noted("compute"), "memory": noted("memory"), "slices": noted("slices")}
#: Where to look at what an alarm is about.
_WAYS: Final = {"node": "/nodes/{}", "slice": "/slices/{}", "quota": "/tenants", "reservation": "/queue"}
MAX_LINES: Final = 8


def tiles(say: Words, seen: Json) -> Html:
    """Return the figures at the top."""
    totals = seen["totals"]
    offered, held = totals["compute_offered_pct"], totals["compute_allocated_pct"]
    memory, memory_held = totals["memory_offered_mib"], totals["memory_allocated_mib"]
    busy = totals["compute_busy_pct"]
    compute_said = say("{held} of {all} devices", held=f"{held / 100:g}", all=f"{offered / 100:g}")
    memory_said = figures.share_text(say, memory_held, memory)
    return tag(
        "div",
        _level(say, say("Compute allocated"), percent(held, offered), percent(busy, offered), compute_said),
        _level(
            say, say("Memory allocated"), percent(memory_held, memory), percent(totals["memory_used_mib"], memory), memory_said
        ),
        _waiting_tile(say, seen),
        _health_tile(say, totals),
        class_="gp-tiles",
    )


def _level(say: Words, title: str, held: float, used: float, remark: str) -> Html:
    said = say(
        "allocated {held} %, used {used} %, idle {idle} %", held=f"{held:.0f}", used=f"{used:.0f}", idle=f"{100 - used:.0f}"
    )
    return _tile(
        title,
        joined([f"{held:.0f} %", tag("small", " · ", remark)]),
        figures.level_bar(used, held, f"{title}: {said}"),
        said,
    )


def _tile(title: str, text: Html, *below: str) -> Html:
    lines = [one if isinstance(one, Html) else tag("div", one, class_="gp-quiet gp-small") for one in below]
    heading = tag("h2", title, class_="gp-tile-title")
    return tag("div", heading, tag("div", text, class_="gp-tile-text"), *lines, class_="gp-panel gp-tile")


def _waiting_tile(say: Words, seen: Json) -> Html:
    count = seen["totals"]["waiting"]
    oldest = min((one["waits_since"] for one in seen["waiting"]), default=None)
    if not count:
        return _tile(say("Waiting"), Html("0"), say("Every request has been served."))
    since = tag("div", say("the first in the queue for"), " ", moment(oldest), class_="gp-quiet gp-small")
    return _tile(say("Waiting"), joined([f"{count:,}"]), since, tag("a", say("Why they wait"), href="/queue", class_="gp-small"))


def _health_tile(say: Words, totals: Json) -> Html:
    nodes = say("{up} of {all} nodes up", up=f"{totals['nodes_up']:,}", all=f"{totals['nodes']:,}")
    devices = say("{up} of {all} devices up", up=f"{totals['devices_up']:,}", all=f"{totals['devices']:,}")
    others = [
        say("{n} paused", n=totals["paused"]) if totals["paused"] else "",
        say("{n} stranded", n=totals["stranded"]) if totals["stranded"] else "",
    ]
    return _tile(say("Live slices"), joined([f"{totals['slices']:,}"]), nodes, " · ".join(filter(None, [devices, *others])))


def history(say: Words, points: list[Json]) -> Html:
    """Return the chart of busy against allocated."""
    legend = tag(
        "ul",
        tag("li", tag("i", style="background:var(--held)"), say("allocated")),
        tag("li", tag("i", style="background:var(--used)"), say("busy")),
        class_="gp-legend",
    )
    head = tag("div", tag("h2", say("Busy against allocated")), legend, class_="gp-head")
    if len(points) < 2:
        return tag("section", head, tag("p", say("The first figures come within seconds."), class_="gp-quiet"), class_="gp-panel")
    offered = [one["offered_pct"] or 1 for one in points]
    held = [percent(one["allocated_pct"], whole) for one, whole in zip(points, offered, strict=True)]
    busy = [percent(one["busy_pct"], whole) for one, whole in zip(points, offered, strict=True)]
    label = say("Per cent of all devices, now allocated {held} %, busy {busy} %", held=f"{held[-1]:.0f}", busy=f"{busy[-1]:.0f}")
    series = [
        Series(values=held, colour="var(--held)", is_filled=True),
        Series(values=busy, colour="var(--used)", is_filled=True),
    ]
    chart = charts.over_time([one["at"] for one in points], series, label, least=100, height=216)
    return tag("section", head, chart, class_="gp-panel")


def alarms(say: Words, seen: Json) -> Html:
    """Return what is wrong, the worst first."""
    head = tag("div", tag("h2", say("What is wrong")), class_="gp-head")
    if not seen["alarms"]:
        fine = tag("p", tag("span", class_="gp-dot", aria_hidden="true"), say("Nothing is wrong."), class_="gp-fine")
        return tag("section", head, fine, class_="gp-panel")
    lines = [_alarm(say, alarm) for alarm in seen["alarms"][:MAX_LINES]]
    if (more := seen["alarm_count"] - len(lines)) > 0:
        lines.append(tag("li", say("and {n} more", n=f"{more:,}"), class_="gp-quiet"))
    return tag("section", head, tag("ul", *lines, class_="gp-list"), class_="gp-panel")


def _alarm(say: Words, alarm: Json) -> Html:
    is_bad = alarm["severity"] == "bad"
    values = {**alarm["values"], "subject": alarm["subject"]}
    if "dimension" in values:
        values["dimension"] = say(DIMENSIONS[values["dimension"]])
        if alarm["values"]["dimension"] == "memory":
            values["held"], values["limit"] = memory_text(values["held"]), memory_text(values["limit"])
    text = say(ALARMS[alarm["kind"]], **values) if alarm["kind"] in ALARMS else alarm["kind"]
    mark = tag("span", say("bad") if is_bad else say("soon"), class_=f"gp-badge {'gp-bad' if is_bad else 'gp-warn'}")
    way = _WAYS.get(alarm["kind"].partition("_")[0], "/").format(quote(alarm["subject"], safe=""))
    return tag(
        "li", mark, tag("span", text, " ", tag("a", say("Show"), href=way, aria_label=f"{say('Show')} {alarm['subject']}"))
    )


def tenants(say: Words, seen: Json) -> Html:
    """Return who holds and uses how much."""
    offered = seen["totals"]["compute_offered_pct"]
    rows = []
    for one in seen["tenants"][:MAX_LINES]:
        dot = tag("i", class_="gp-swatch", style=f"background:{colour_of(one['tenant'])}", aria_hidden="true")
        held, used = percent(one["compute_pct"], offered), percent(one["busy_pct"], offered)
        bar = figures.level_bar(used, held, say("allocated {held} %, used {used} %", held=f"{held:.1f}", used=f"{used:.1f}"))
        limit = "–" if one["limit_pct"] is None else f"{one['limit_pct']:,} %"
        cells = [
            f"{one['compute_pct']:,} %",
            f"{one['busy_pct']:.0f} %",
            limit,
            memory_text(one["memory_mib"]),
            f"{one['slices']:,}",
        ]
        name = tag("a", one["tenant"], href=f"/slices?words={quote(one['tenant'], safe='')}")
        rows.append([joined([dot, name]), bar, *cells])
    columns = [
        Column(say("Tenant")),
        Column(say("Share of the pool")),
        *(Column(title, is_number=True) for title in (say("Allocated"), say("Used"), say("Limit"), say("Memory"), say("Slices"))),
    ]
    more = seen["tenant_count"] - len(rows)
    way = tag(
        "a", say("All {n} tenants", n=seen["tenant_count"]) if more > 0 else say("Quotas"), href="/tenants", class_="gp-small"
    )
    head = tag("div", tag("h2", say("Tenants by share")), way, class_="gp-head")
    shown = table(columns, rows, say("Tenants by share"), empty=say("Nobody holds anything."))
    return tag("section", head, shown, class_="gp-panel")


def waiting(say: Words, seen: Json) -> Html:
    """Return who is next in the queue."""
    lines = [
        tag(
            "li", moment(one["waits_since"]), tag("span", tag("b", one["tenant"]), f" · {one['compute_pct']} % · ", one["reason"])
        )
        for one in seen["waiting"]
    ]
    head = tag("div", tag("h2", say("Next in the queue")), class_="gp-head")
    body = tag("ul", *lines, class_="gp-list") if lines else tag("p", say("Nobody waits."), class_="gp-quiet")
    return tag("section", head, body, class_="gp-panel")
