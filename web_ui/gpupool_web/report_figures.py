"""What the page of a report shows, worked out of its JSON: pure."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from gpupool_web.rest import Json

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
TIME: Final = (("Used within its share", "#0072B2"), ("Burst", "#56B4E9"), ("Reserved, not used", "#B9BFC7"))
COST: Final = (
    ("cost_reserved", "Reserved", "#0072B2"),
    ("cost_memory", "Memory", "#00795C"),
    ("cost_used", "Used", "#B45A00"),
    ("cost_burst", "Burst", "#56B4E9"),
    ("cost_idle", "Idle", "#B9BFC7"),
    ("cost_energy", "Energy", "#7A6C00"),
)
BY_TIME: Final = ("day", "week", "month")


def amount(value: str | int | None, digits: int = 2) -> str:
    """Return a figure for people, "–" where it is not known."""
    return "–" if value is None else f"{float(value):,.{digits}f}"


def tiles(report: Json) -> list[tuple[str, str, str]]:
    """Return (title, figure, remark) of what matters most."""
    shown, currency = report["total"]["shown"], report["currency"]
    used, idle = float(shown["used_h"]) - float(shown["burst_h"]), float(shown["idle_h"])
    held = used + idle
    found = [
        ("Devices held", f"{amount(shown['device_h'], 1)} h", f"{amount(shown['reserved_pct_h'], 0)} %·h of compute"),
        (
            "Used",
            f"{amount(shown['used_h'], 1)} h",
            f"{100 * used / held:.1f} % of what was held" if held else "nothing was held",
        ),
        ("Reserved, not used", f"{amount(shown['idle_h'], 1)} h", "device time"),
    ]
    if shown["energy_kwh"] is None:
        found.append(("Energy", "–", "not measured"))
    else:
        kwh = float(shown["energy_kwh"]) + float(shown["idle_kwh"])
        found.append(("Energy", f"{amount(str(kwh), 1)} kWh", f"{amount(shown['idle_kwh'], 1)} kWh of it idle"))
    if shown["cost"] is None:
        return [*found, ("Cost", "–", "no prices are set")]
    saved = float(shown["cost_whole"]) - float(shown["cost"])
    found.append(("Cost", f"{amount(shown['cost'])} {currency}", "sums add up to the cent"))
    found.append(("Saved by pooling", f"{amount(str(saved))} {currency}", "against a whole GPU each"))
    return found


def table(report: Json) -> tuple[list[Json], list[Json]]:
    """Return columns and rows of the table, the total last."""
    columns = {column["name"]: column for column in report["columns"]}
    wanted = [columns[name] for name in COLUMNS]
    heads: list[Json] = [{"name": "key", "label": report["key"], "field": "key", "align": "left"}]
    heads += [
        {
            "name": one["name"],
            "label": " ".join(filter(None, (one["title"], one["unit"]))),
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


def time_chart(report: Json) -> Json:
    """Return the chart of device time: used, burst, reserved and not used, by line."""
    rows = _bars(report)
    stacks: list[list[float]] = [[], [], []]
    for _, shown in rows:
        used, burst, idle = (float(shown[name]) for name in ("used_h", "burst_h", "idle_h"))
        for stack, value in zip(stacks, (used - burst, burst, idle), strict=True):
            stack.append(round(value, 3))
    series = [(name, colour, stack) for (name, colour), stack in zip(TIME, stacks, strict=True)]
    return _stacked([key for key, _ in rows], series, "h")


def cost_chart(report: Json) -> Json | None:
    """Return the chart of the cost by line; None while no price is set."""
    if report["total"]["shown"]["cost"] is None:
        return None
    rows = _bars(report)
    series = [(title, colour, [float(shown[name]) for _, shown in rows]) for name, title, colour in COST]
    return _stacked([key for key, _ in rows], [one for one in series if any(one[2])], report["currency"])


def months(today: date, count: int = 24) -> list[str]:
    """Return the names of this month and of those before it, newest first."""
    numbers = (today.year * 12 + today.month - 1 - back for back in range(count))
    return [f"{number // 12}-{number % 12 + 1:02}" for number in numbers]


def _bars(report: Json) -> list[tuple[str, dict[str, Any]]]:
    """Return (key, figures) of the lines; by time all in order, else the largest, and the rest as one."""
    rows = [(row["key"], row["shown"]) for row in report["rows"]]
    if report["by"] in BY_TIME or len(rows) <= MAX_BARS:
        return rows if report["by"] in BY_TIME else sorted(rows, key=_size)
    rows.sort(key=_size)
    kept, rest = rows[: MAX_BARS - 1], rows[MAX_BARS - 1 :]
    names = ("used_h", "burst_h", "idle_h", *(name for name, _, _ in COST))
    others = {name: sum(float(shown[name] or 0) for _, shown in rest) for name in names}
    return [*kept, (f"{len(rest)} others", others)]


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
