"""Slices: the list of them, and one of them with its life."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gpupool_web import charts, figures
from gpupool_web.charts import Series
from gpupool_web.figures import badge, memory_text
from gpupool_web.markup import Html, joined, moment, tag
from gpupool_web.rest import Json
from gpupool_web.tables import Column, facts, table
from gpupool_web.words import Words

MIB: Final = 1024 * 1024


def slices(say: Words, rows: list[Json], sort: str) -> Html:
    """Return the table of slices."""
    columns = [
        Column(say("Slice"), "slice"),
        Column(say("Tenant"), "tenant"),
        Column(say("Device"), "place"),
        Column(say("State")),
        Column(say("Promised"), "compute", is_number=True),
        Column(say("Had in 10 s"), "achieved", is_number=True),
        Column(""),
        Column(say("Memory"), "memory", is_number=True),
        Column(say("Throttled in 10 s"), "throttled", is_number=True),
        Column(say("Age"), "created", is_number=True),
        Column(say("For")),
    ]
    return table(columns, [_row(say, one) for one in rows], say("Slices"), sort=sort, empty=say("No slice is like that."))


def _row(say: Words, one: Json) -> list[str]:
    account = f"{one['tenant']}/{one['project']}" if one["project"] else one["tenant"]
    for_whom = one["label"] or one["holder"]
    state = badge(say, one["state"])
    if one["is_starving"]:
        state = joined([state, " ", tag("span", say("starving"), class_="gp-badge gp-bad")])
    had = one["achieved_10s_pct"]
    bar = figures.level_bar(
        had, one["compute_pct"], say("has {had} % of {compute} %", had=f"{had:.1f}", compute=one["compute_pct"])
    )
    return [
        figures.slice_link(one["slice_id"]),
        account,
        figures.node_link(one["node"], one["device"]),
        state,
        f"{one['compute_pct']} % {one['policy']}",
        f"{had:.1f} %",
        bar,
        memory_text(one["memory_mib"]),
        f"{one['throttled_10s_ms'] / 1000:.1f} s",
        moment(one["created_at"]),
        tag("div", for_whom, class_="gp-cut", title=for_whom),
    ]


def head(say: Words, one: Json) -> Html:
    """Return a slice's name and state."""
    return tag("div", tag("h1", one["slice_id"]), badge(say, one["state"]), class_="gp-title")


def summary(say: Words, one: Json) -> Html:
    """Return what a slice is, holds, and used."""
    used, size = one["memory_used_bytes"] / MIB, one["memory_mib"]
    rows: list[tuple[str, str]] = [
        (say("Promised"), f"{one['compute_pct']} % ({one['policy']})"),
        (say("Had in 10 s"), f"{one['achieved_10s_pct']:.1f} %"),
        (say("Since it came"), f"{one['achieved_pct']:.1f} %"),
        (say("Memory in use"), figures.share_text(say, round(used, 1), size)),
        (say("Device time"), figures.span_text(one["device_ms"] / 1000)),
        (say("Waited for its turn"), figures.span_text(one["throttled_ms"] / 1000)),
        (say("Calls"), f"{one['calls']:,}"),
        (say("Models"), _models(say, one)),
        (say("Tenant"), f"{one['tenant']}/{one['project']}" if one["project"] else one["tenant"]),
        (
            say("Device"),
            joined([figures.node_link(one["node"], one["device"]), " ", tag("small", one["model"], class_="gp-quiet")]),
        ),
        (say("Client"), one["holder"] or "–"),
        (say("Label"), one["label"] or "–"),
        (say("Lease"), _lease(say, one)),
        (say("Age"), moment(one["created_at"])),
    ]
    if one["reason"] or one["notice"] or one["paused_by"]:
        rows.append((say("Because"), one["reason"] or one["notice"] or say("paused by {who}", who=one["paused_by"])))
    return facts(rows)


def _models(say: Words, one: Json) -> Html:
    if not one["model_count"]:
        return joined(["–"])
    lines: list[Html | str] = []
    for model in one["models"]:
        mib = round(model["weight_bytes"] / MIB, 1)
        state = say("{mib} MiB", mib=mib) if model["is_loaded"] else say("{mib} MiB, unloaded", mib=mib)
        lines += [model["name"], " ", tag("small", state, class_="gp-quiet"), tag("br")]
    if more := one["model_count"] - len(one["models"]):
        lines.append(tag("small", say("and {count} more", count=more), class_="gp-quiet"))
    return joined(lines)


def _lease(say: Words, one: Json) -> Html:
    kind = say("held until released") if one["hold"] == "held" else say("as long as its client")
    if one["lease_until"] is None:
        return joined([kind])
    return joined(
        [kind, tag("br"), tag("small", say("renewed until"), " ", moment(one["lease_until"], "clock"), class_="gp-quiet")]
    )


def course(say: Words, found: Json) -> Html:
    """Return the chart of what a slice was promised and what it had, and how long it waited for its turn."""
    rows = found["stretches"]
    legend = tag(
        "ul",
        tag("li", tag("i", style="background:var(--held)"), say("promised")),
        tag("li", tag("i", style="background:var(--used)"), say("had")),
        tag("li", tag("i", style="background:var(--warn)"), say("waited for its turn")),
        class_="gp-legend",
    )
    top = tag("div", tag("h2", say("Promised and had, last hour")), legend, class_="gp-head")
    if len(rows) < 2:
        return joined([top, tag("p", say("The first figures come within seconds."), class_="gp-quiet")])
    width_ms = max(1.0, _gap_ms(rows))
    series = [
        Series(values=[one["granted_pct"] for one in rows], colour="var(--held)", is_filled=True),
        Series(values=[one["achieved_pct"] for one in rows], colour="var(--used)", is_filled=True),
        Series(values=[min(100.0, 100 * one["throttled_ms"] / width_ms) for one in rows], colour="var(--warn)", is_dashed=True),
    ]
    last = rows[-1]
    label = say(
        "Per cent of its device, lately promised {granted} %, had {had} %", granted=last["granted_pct"], had=last["achieved_pct"]
    )
    return joined([top, charts.over_time([one["at"] for one in rows], series, label, height=210)])


def _gap_ms(rows: list[Json]) -> float:
    begin, end = (datetime.fromisoformat(rows[index]["at"]).timestamp() for index in (0, 1))
    return (end - begin) * 1000
