"""Numbers for people, and the bars and links made of them."""

from __future__ import annotations

import pytest

from gpupool_web import figures, theme
from gpupool_web.words import CHINESE, Words

SAY = Words()
HELD = {
    "slice_id": "s-1",
    "tenant": "acme",
    "label": "<script>",
    "compute_pct": 30,
    "memory_mib": 1024,
    "achieved_10s_pct": 21.5,
    "state": "live",
}


@pytest.mark.parametrize(
    ("mib", "text"),
    [(512, "512 MiB"), (1024, "1 GiB"), (1536, "1.5 GiB"), (12051, "11.8 GiB"), (0, "0 MiB"), (2 * 1024**2, "2 TiB")],
)
def test_memory_is_readable(mib: int, text: str) -> None:
    assert figures.memory_text(mib) == text


def test_a_unit_is_said_once() -> None:
    assert figures.share_text(SAY, 1536, 4096) == "1.5 of 4 GiB"
    assert figures.share_text(SAY, 512, 4096) == "512 MiB of 4 GiB"
    assert figures.share_text(Words(CHINESE), 1536, 4096) == "1.5 / 4 GiB"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (59, "59 s"), (60, "1 min"), (3 * 3600 + 300, "3 h 5 min"), (187_200, "2 d 4 h")]
)
def test_spans_are_readable(seconds: int, text: str) -> None:
    assert figures.span_text(seconds) == text


def test_nothing_is_divided_by_nothing() -> None:
    assert figures.percent(5, 0) == 0.0


def test_a_bar_shows_use_within_what_is_held_and_never_runs_over() -> None:
    bar = figures.level_bar(20, 50, "said")
    assert "width:20.00%" in bar
    assert "width:30.00%" in bar
    assert figures.level_bar(150, 120, "said").count("width:100.00%") == 1
    assert 'aria-label="said"' in bar


def test_a_devices_bar_names_its_slices_and_hides_those_of_others() -> None:
    others = {**HELD, "slice_id": "", "tenant": "", "label": "", "compute_pct": 20}
    bar = figures.slices_bar(SAY, [HELD, others], [30.0, 20.0], "compute by slice")
    assert "s-1 · acme · &lt;script&gt; · 30 %, 1 GiB, 21.5 %" in bar
    assert ">others<" in bar
    assert figures.slices_bar(SAY, [HELD], [0.0], "busy by slice").count("<span") == 0


def test_names_of_any_characters_fit_into_an_address() -> None:
    assert figures.link("/nodes/", "a/b?c") == "/nodes/a%2Fb%3Fc"
    assert 'href="/slices/%3Cb%3E"' in figures.slice_link("<b>")


def test_a_tenant_keeps_its_colour() -> None:
    assert theme.colour_of("ocr") == theme.colour_of("ocr")
