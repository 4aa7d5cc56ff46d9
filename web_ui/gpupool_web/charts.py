"""Charts as SVG, drawn here: they follow light and dark, need no script, and say in words what they show.

values over time ──scaled into WIDTH x height──> <svg role="img" aria-label="...">        times are written by the browser
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gpupool_web.markup import Html, joined, tag

WIDTH: Final = 720
#: Room for the figures at the left and the times below.
LEFT, BOTTOM, TOP = 46, 20, 6
#: Times below a chart, and lines across it.
TICKS, LINES = 5, 4
#: Below that, times are told to the second.
SHORT_S: Final = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a chart, or an area where it is filled."""

    values: Sequence[float]
    colour: str
    is_filled: bool = False
    is_dashed: bool = False


def over_time(times: Sequence[str], series: Sequence[Series], label: str, *, height: int = 200, least: float = 0) -> Html:
    """Return a chart of values (per cent) over times (RFC 3339), oldest first. `label` says what it shows."""
    top = _round_up(max([least, *(value for one in series for value in one.values)], default=1.0) or 1.0)
    stamps = [_seconds(at) for at in times]
    begin, span = stamps[0], (stamps[-1] - stamps[0]) or 1.0
    plot_height = height - TOP - BOTTOM

    def across(stamp: float) -> float:
        return LEFT + (WIDTH - LEFT - 8) * (stamp - begin) / span

    def up(value: float) -> float:
        return TOP + plot_height * (1 - min(value, top) / top)

    parts = [_line(up(top * part / LINES), f"{top * part / LINES:g} %") for part in range(LINES + 1)]
    for one in series:
        points = [f"{across(stamp):.1f},{up(value):.1f}" for stamp, value in zip(stamps, one.values, strict=True)]
        parts.append(_drawn(one, points, across(stamps[0]), across(stamps[-1]), up(0)))
    parts += _times(times, [across(stamp) for stamp in stamps], height)
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {height}", class_="gp-chart", role="img", aria_label=label)


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _line(y: float, text: str) -> Html:
    rule = tag("line", x1=LEFT, x2=WIDTH - 8, y1=f"{y:.1f}", y2=f"{y:.1f}", stroke="var(--grid)")
    return joined([rule, tag("text", text, x=LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end")])


def _drawn(one: Series, points: Sequence[str], begin: float, end: float, floor: float) -> Html:
    drawn = "M" + "L".join(points)
    dash = "5 4" if one.is_dashed else None
    line = tag(
        "path", d=drawn, fill="none", stroke=one.colour, stroke_width="1.8", stroke_dasharray=dash, stroke_linejoin="round"
    )
    if not one.is_filled:
        return line
    area = f"{drawn}L{end:.1f},{floor:.1f}L{begin:.1f},{floor:.1f}Z"
    return joined([tag("path", d=area, fill=one.colour, fill_opacity="0.22"), line])


def _times(times: Sequence[str], places: Sequence[float], height: int) -> list[Html]:
    """Return the times below: the ones nearest to equal steps, each once."""
    count = min(TICKS, len(times))
    indexes = sorted({round(step * (len(times) - 1) / max(1, count - 1)) for step in range(count)})
    how = "clock" if _seconds(times[-1]) - _seconds(times[0]) < SHORT_S else "minute"
    anchors = {indexes[0]: "start", indexes[-1]: "end"}
    return [
        tag(
            "text",
            x=f"{places[i]:.1f}",
            y=height - 4,
            text_anchor=anchors.get(i, "middle"),
            data_at=times[i],
            data_as=how,
        )
        for i in indexes
    ]


def _round_up(value: float) -> float:
    """Return the next figure that divides well: 1, 2, 4 or 8 times a power of ten, so that a quarter of it is short."""
    scale = 1.0
    while value > 8 * scale:
        scale *= 10
    return next(scale * step for step in (0.4, 0.8, 1, 2, 4, 6, 8) if value <= scale * step)
