"""What the page of a report shows, worked out of its JSON: pure."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from gpupool_web.rest import Json
from gpupool_web.words import Words, noted

#: More bars than that are a wall; the rest is added up in one.
MAX_BARS: Final = 31
#: Of a table on a page; files have every column.
COLUMNS: Final = (
    "device_h",
    "reserved_pct_h",
    "reserved_gib_h",
    "used_h",
    "burst_h",
    "idle_h",
    "grants",
    "wait_p95_s",
    "energy_kwh",
    "idle_kwh",
    "co2_kg",
    "cost",
    "cost_whole",
)
#: What is stacked in the charts, and in which colour (told apart by people who see few colours).
TIME: Final = (
    (noted("Used within its share"), "#0072B2"),
    (noted("Burst"), "#56B4E9"),
    (noted("Reserved, not used"), "#B9BFC7"),
)
COST: Final = (
    ("cost_reserved", noted("Reserved"), "#0072B2"),
    ("cost_memory", noted("Memory"), "#00795C"),
    ("cost_used", noted("Used"), "#B45A00"),
    ("cost_burst", noted("Burst"), "#56B4E9"),
    ("cost_idle", noted("Idle"), "#B9BFC7"),
    ("cost_energy", noted("Energy"), "#7A6C00"),
)
#: The columns' titles, by their names, and those of the first column, by what a line is.
TITLES: Final = {
    "device_h": noted("Devices held"),
    "reserved_pct_h": noted("Compute reserved"),
    "reserved_gib_h": noted("Memory reserved"),
    "used_h": noted("Device time used"),
    "burst_h": noted("Burst"),
    "idle_h": noted("Reserved, not used"),
    "grants": noted("Grants"),
    "wait_p95_s": noted("Wait p95"),
    "energy_kwh": noted("Energy of use"),
    "idle_kwh": noted("Idle energy"),
    "co2_kg": noted("Carbon dioxide"),
    "cost": noted("Cost"),
    "cost_whole": noted("Whole GPUs instead"),
}
KEYS: Final = {
    "tenant": noted("Tenant"),
    "project": noted("Project"),
    "model": noted("Device model"),
    "node": noted("Node"),
    "day": noted("Day"),
    "week": noted("Week"),
}
BY_TIME: Final = ("day", "week", "month")


def amount(value: str | int | None, digits: int = 2) -> str:
    """Return a figure for people, "–" where it is not known."""
    return "–" if value is None else f"{float(value):,.{digits}f}"


def tiles(say: Words, report: Json) -> list[tuple[str, str, str]]:
    """Return (title, figure, remark) of what matters most."""
    shown, currency = report["total"]["shown"], report["currency"]
    used, idle = float(shown["used_h"]) - float(shown["burst_h"]), float(shown["idle_h"])
    held = used + idle
    found = [
        (
            say("Devices held"),
            f"{amount(shown['device_h'], 1)} h",
            say("{n} %·h of compute", n=amount(shown["reserved_pct_h"], 0)),
        ),
        (
            say("Used"),
            f"{amount(shown['used_h'], 1)} h",
            say("{n} % of what was held", n=f"{100 * used / held:.1f}") if held else say("nothing was held"),
        ),
        (say("Reserved, not used"), f"{amount(shown['idle_h'], 1)} h", say("device time")),
    ]
    if shown["energy_kwh"] is None:
        found.append((say("Energy"), "–", say("not measured")))
    else:
        kwh = float(shown["energy_kwh"]) + float(shown["idle_kwh"])
        found.append((say("Energy"), f"{amount(str(kwh), 1)} kWh", say("{n} kWh of it idle", n=amount(shown["idle_kwh"], 1))))
    if shown["cost"] is None:
        return [*found, (say("Cost"), "–", say("no prices are set"))]
    saved = float(shown["cost_whole"]) - float(shown["cost"])
    found.append((say("Cost"), f"{amount(shown['cost'])} {currency}", say("sums add up to the cent")))
    found.append((say("Saved by pooling"), f"{amount(str(saved))} {currency}", say("against a whole GPU each")))
    return found


def table(say: Words, report: Json) -> tuple[list[Json], list[Json]]:
    """Return columns and rows of the table, the total last."""
    columns = {column["name"]: column for column in report["columns"]}
    wanted = [columns[name] for name in COLUMNS]
    heads: list[Json] = [
        {"name": "key", "label": say(str(KEYS.get(report["by"], report["key"]))), "field": "key", "align": "left"}
    ]
    heads += [
        {
            "name": one["name"],
            "label": " ".join(filter(None, (say(TITLES.get(one["name"], one["title"])), one["unit"]))),
            "field": one["name"],
            "align": "right",
        }
        for one in wanted
    ]
    rows = [
        {"key": row["key"], **{one["name"]: amount(row["shown"][one["name"]], one["digits"]) for one in wanted}}
        for row in [*report["rows"], report["total"]]
    ]
    return heads, rows


def time_chart(say: Words, report: Json) -> Json:
    """Return the chart of device time: used, burst, reserved and not used, by line."""
    rows = _bars(say, report)
    stacks: list[list[float]] = [[], [], []]
    for _, shown in rows:
        used, burst, idle = (float(shown[name]) for name in ("used_h", "burst_h", "idle_h"))
        for stack, value in zip(stacks, (used - burst, burst, idle), strict=True):
            stack.append(round(value, 3))
    series = [(say(name), colour, stack) for (name, colour), stack in zip(TIME, stacks, strict=True)]
    return _stacked([key for key, _ in rows], series, "h")


def cost_chart(say: Words, report: Json) -> Json | None:
    """Return the chart of the cost by line; None while no price is set."""
    if report["total"]["shown"]["cost"] is None:
        return None
    rows = _bars(say, report)
    series = [(say(title), colour, [float(shown[name]) for _, shown in rows]) for name, title, colour in COST]
    return _stacked([key for key, _ in rows], [one for one in series if any(one[2])], report["currency"])


def months(today: date, count: int = 24) -> list[str]:
    """Return the names of this month and of those before it, newest first."""
    numbers = (today.year * 12 + today.month - 1 - back for back in range(count))
    return [f"{number // 12}-{number % 12 + 1:02}" for number in numbers]


def _bars(say: Words, report: Json) -> list[tuple[str, dict[str, Any]]]:
    """Return (key, figures) of the lines; by time all in order, else the largest, and the rest as one."""
    rows = [(row["key"], row["shown"]) for row in report["rows"]]
    if report["by"] in BY_TIME or len(rows) <= MAX_BARS:
        return rows if report["by"] in BY_TIME else sorted(rows, key=_size)
    rows.sort(key=_size)
    kept, rest = rows[: MAX_BARS - 1], rows[MAX_BARS - 1 :]
    names = ("used_h", "burst_h", "idle_h", *(name for name, _, _ in COST))
    others = {name: sum(float(shown[name] or 0) for _, shown in rest) for name in names}
    return [*kept, (say("{n} others", n=len(rest)), others)]


def _size(row: tuple[str, dict[str, Any]]) -> float:
    return -(float(row[1]["used_h"]) + float(row[1]["idle_h"]))


def _stacked(keys: list[str], series: list[tuple[str, str, list[float]]], unit: str) -> Json:
    return {
        "grid": {"left": 8, "right": 16, "top": 40, "bottom": 8, "containLabel": True},
        "legend": {"top": 0, "textStyle": {"color": "#7d8794"}},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}},
        "xAxis": {"type": "category", "data": keys, "axisLabel": {"color": "#7d8794", "rotate": 45 if len(keys) > 8 else 0}},
        "yAxis": {"type": "value", "name": unit, "axisLabel": {"color": "#7d8794"}, "splitLine": {"lineStyle": {"opacity": 0.3}}},
        "series": [
            {"name": name, "type": "bar", "stack": "all", "data": values, "itemStyle": {"color": colour}}
            for name, colour, values in series
        ],
    }
