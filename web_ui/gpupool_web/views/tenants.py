"""Tenants and their projects: what they hold, what they are guaranteed, what they may hold at most."""

from __future__ import annotations

from typing import Any

from gpupool_web import figures
from gpupool_web.figures import memory_text, percent
from gpupool_web.markup import Html, joined, tag
from gpupool_web.rest import Json
from gpupool_web.tables import Column, button, table
from gpupool_web.theme import colour_of
from gpupool_web.words import Words


def tenants(say: Words, rows: list[Json], used: dict[str, float], *, may_set: bool) -> Html:
    """Return the tree of tenants and projects. `used` is what tenants used in the last ten seconds, in per cent of a device."""
    columns = [
        Column(say("Account")),
        Column(say("Guaranteed"), is_number=True),
        Column(say("Limit"), is_number=True),
        Column(say("Allocated"), is_number=True),
        Column(""),
        Column(say("Borrowed"), is_number=True),
        Column(say("Used"), is_number=True),
        Column(say("Memory"), is_number=True),
        Column(say("Slices"), is_number=True),
        Column(""),
    ]
    ordered = sorted(rows, key=lambda one: one["tenant"].split("/"))
    cells = [_row(say, one, used, may_set) for one in ordered]
    return table(columns, cells, say("Tenants & quotas"), empty=say("No tenant holds anything or has a quota."))


def _row(say: Words, one: Json, used: dict[str, float], may_set: bool) -> list[str]:
    quota, account = one["quota"], one["tenant"]
    held, limit = one["compute_pct"], quota["compute_pct"]
    whole = limit or max(held, 100)
    label = say("holds {held} % of {limit} %", held=held, limit=limit if limit is not None else "∞")
    actions: list[str] = []
    if may_set:
        actions.append(button("edit", account, say("Edit"), label=say("Edit the quota of {account}", account=account)))
    return [
        _name(say, one),
        _pct(quota["guaranteed_pct"]),
        _pct(limit),
        f"{held:,} %",
        figures.level_bar(percent(used.get(account, 0.0), whole), percent(held, whole), label),
        f"{one['borrowed_pct']:,} %" if quota["guaranteed_pct"] is not None else "–",
        f"{used[account]:.0f} %" if account in used else "–",
        memory_text(one["memory_mib"]) + (f" / {memory_text(quota['memory_mib'])}" if quota["memory_mib"] is not None else ""),
        f"{one['slices']:,}" + (f" / {quota['slices']:,}" if quota["slices"] is not None else ""),
        joined(actions),
    ]


def _name(say: Words, one: Json) -> Html:
    tenant, _, project = one["tenant"].partition("/")
    if project:
        name = tag("span", "└ ", project, class_="gp-project")
    else:
        name = joined(
            [tag("i", class_="gp-swatch", style=f"background:{colour_of(tenant)}", aria_hidden="true"), tag("b", tenant)]
        )
    over = [joined([" ", tag("span", say("over its quota"), class_="gp-badge gp-bad", title=", ".join(one["over"]))])]
    return joined([name, *(over if one["over"] else [])])


def _pct(value: int | None) -> str:
    return "–" if value is None else f"{value:,} %"


def effect(say: Words, found: Json) -> Html:
    """Return what a quota would change, before it is set."""
    lines: list[Html] = []
    for one in found["over"]:
        what = ", ".join(one["what"])
        text = say(
            "{account} would be over: {what}. Nothing is taken away, nothing more is given.", account=one["account"], what=what
        )
        lines.append(_line("gp-bad", text))
    if found["projects_above"]:
        lines.append(
            _line("gp-warn", say("Projects that may hold more than that: {names}", names=", ".join(found["projects_above"])))
        )
    if found["blocked"]:
        lines.append(_line("gp-warn", say("{n} waiting requests would be kept out.", n=found["blocked"])))
    if found["freed"]:
        lines.append(_line("gp-good", say("{n} waiting requests would be let in, if there is room.", n=found["freed"])))
    if found["guaranteed_pct"] > found["offered_pct"]:
        numbers = {"given": found["guaranteed_pct"], "offered": found["offered_pct"]}
        lines.append(_line("gp-bad", say("Guarantees would add up to {given} %, and there are {offered} %.", **numbers)))
    if not lines:
        lines.append(_line("gp-good", say("Nobody would be over.")))
    return tag("ul", *lines, class_="gp-list")


def _line(look: str, text: str) -> Html:
    return tag("li", tag("span", class_=f"gp-mark-dot {look}", aria_hidden="true"), tag("span", text))


def as_request(shown: Json, revision: int) -> dict[str, Any]:
    """Return a form's values as REST takes them: what is empty is not limited."""
    body = {name: value for name, value in shown.items() if value not in (None, "")}
    for name in ("compute", "slices", "guaranteed_compute", "max_priority"):
        if name in body:
            body[name] = int(body[name])
    return {**body, "revision": revision}
