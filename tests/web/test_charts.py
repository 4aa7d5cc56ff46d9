"""Charts as SVG: in scale, in words, within their frame."""

from __future__ import annotations

import re

from gpupool_web.charts import BOTTOM, WIDTH, Series, over_time

TIMES = [f"2026-11-21T10:{minute:02}:00+00:00" for minute in range(0, 60, 5)]


def heights(chart: str) -> list[float]:
    path = re.search(r'<path d="M([^"]+)" fill="none"', chart)
    assert path is not None
    return [float(point.split(",")[1]) for point in path[1].split("L")]


def test_values_are_in_scale_and_within_the_frame() -> None:
    values = [0.0, *([50.0] * 10), 100.0]
    chart = over_time(TIMES, [Series(values=values, colour="red")], "said", height=200, least=100)
    lowest, *middle, highest = heights(chart)
    assert (lowest, middle[0] - highest) == (200 - BOTTOM, lowest - middle[0])
    assert 'role="img" aria-label="said"' in chart
    assert f'viewBox="0 0 {WIDTH} 200"' in chart


def test_a_chart_grows_with_what_it_shows() -> None:
    chart = over_time(TIMES, [Series(values=[130.0] * 12, colour="red")], "said")
    assert ">200 %<" in chart
    assert ">2 %<" in over_time(TIMES, [Series(values=[1.3] * 12, colour="red")], "said")


def test_times_are_the_browsers_to_write() -> None:
    chart = over_time(TIMES, [Series(values=[1.0] * 12, colour="red")], "said")
    assert chart.count('data-as="minute"') == 5
    assert f'data-at="{TIMES[0]}"' in chart
    assert f'data-at="{TIMES[-1]}"' in chart
    assert over_time(TIMES[:2], [Series(values=[1.0, 1.0], colour="red")], "said").count('data-as="clock"') == 2


def test_two_points_and_one_instant_are_no_trouble() -> None:
    assert "<svg" in over_time(TIMES[:1] * 2, [Series(values=[1.0, 2.0], colour="red")], "said")
