"""What the page of a report shows of its JSON."""

from __future__ import annotations

from datetime import date
from typing import Any

from gpupool_web import report_figures
from gpupool_web.report_figures import COLUMNS, COST, MAX_BARS
from gpupool_web.words import Words

SAY = Words()
TITLES = {"used_h": ("Device time used", "h", 3), "cost": ("Cost", "EUR", 2)}


def shown(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = dict.fromkeys([*COLUMNS, *(name for name, _, _ in COST)], "1.00")
    return plain | {"used_h": "5.000", "burst_h": "1.000", "idle_h": "12.000", "grants": 3} | changes


def report(rows: int = 2, by: str = "tenant", **changes: Any) -> dict[str, Any]:
    columns = [
        dict(zip(("title", "unit", "digits"), TITLES.get(name, (name, "", 2)), strict=True), name=name) for name in COLUMNS
    ]
    return {
        "key": "Tenant",
        "by": by,
        "currency": "EUR",
        "columns": columns,
        "rows": [{"key": f"t{n:02}", "shown": shown(used_h=str(1.0 + n), **changes)} for n in range(rows)],
        "total": {"key": "total", "shown": shown(**changes)},
    }


def test_the_tiles_say_what_matters() -> None:
    found = {
        title: (text, remark) for title, text, remark in report_figures.tiles(SAY, report(cost="1234.50", cost_whole="3000.00"))
    }
    assert found["Used"] == ("5.0 h", "25.0 % of what was held")
    assert found["Cost"][0] == "1,234.50 EUR"
    assert found["Saved by pooling"][0] == "1,765.50 EUR"


def test_what_is_not_known_is_not_a_number() -> None:
    found = {title: (text, remark) for title, text, remark in report_figures.tiles(SAY, report(cost=None, energy_kwh=None))}
    assert found["Energy"] == ("–", "not measured")
    assert found["Cost"] == ("–", "no prices are set")
    assert report_figures.cost_chart(SAY, report(cost=None)) is None


def test_the_table_ends_with_the_total() -> None:
    columns, rows = report_figures.table(SAY, report())
    assert [row["key"] for row in rows] == ["t00", "t01", "total"]
    assert rows[-1]["used_h"] == "5.000"
    assert {column["label"] for column in columns} >= {"Tenant", "Device time used h", "Cost EUR"}


def test_a_chart_stacks_the_largest_first_and_adds_up_the_rest() -> None:
    chart = report_figures.time_chart(SAY, report(rows=40))
    keys = chart["xAxis"]["data"]
    assert (len(keys), keys[0], keys[-1]) == (MAX_BARS, "t39", "10 others")
    used, burst, _idle = (series["data"] for series in chart["series"])
    assert (used[0], burst[0]) == (39.0, 1.0)
    assert burst[-1] == 10.0


def test_days_stay_in_their_order() -> None:
    assert report_figures.time_chart(SAY, report(rows=40, by="day"))["xAxis"]["data"][:2] == ["t00", "t01"]


def test_months_go_back_over_the_year() -> None:
    assert report_figures.months(date(2026, 2, 1), 3) == ["2026-02", "2026-01", "2025-12"]
