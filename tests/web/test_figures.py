"""What the pages show, worked out of REST's JSON."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gpupool_web import figures, theme

DEVICE = {
    "node": "n1",
    "device": "cuda0",
    "kind": "cuda",
    "model": "H200",
    "state": "up",
    "memory_mib": 4096,
    "compute_allocated_pct": 30,
    "memory_allocated_mib": 1024,
    "busy_pct": 21.5,
    "slices": 1,
}
SLICE = {
    "slice_id": "s-1",
    "tenant": "ocr",
    "node": "n1",
    "device": "cuda0",
    "kind": "cuda",
    "compute_pct": 30,
    "memory_mib": 1024,
    "policy": "burst",
    "hold": "held",
    "state": "live",
    "label": "",
    "holder": "app.py on desk",
    "created_at": "2026-11-21T10:00:00Z",
    "device_ms": 1500.0,
    "throttled_ms": 20.0,
    "calls": 7,
    "achieved_10s_pct": 21.5,
    "achieved_pct": 3.2,
}
LOST = {**DEVICE, "node": "n2", "state": "lost", "compute_allocated_pct": 90}


def test_the_overview_counts_only_what_is_up() -> None:
    shown = {figure.title: figure for figure in figures.overview([{"state": "up"}, {"state": "lost"}], [DEVICE, LOST], [SLICE])}
    assert shown["Nodes up"].text == "1 of 2"
    assert shown["Compute allocated"].text == "30 % of 100 %"
    assert shown["Compute in use"].text == "22 % of 100 %"
    assert shown["Memory allocated"].fraction == 0.25
    assert shown["Memory allocated"].text == "1 of 4 GiB"
    assert figures.share_text(512, 4096) == "512 MiB of 4 GiB"
    assert shown["Slices live"].text == "1"


def test_an_empty_pool_divides_by_nothing() -> None:
    assert [figure.fraction for figure in figures.overview([], [], [])] == [0.0] * 6


def test_a_devices_bars_are_its_own_live_slices() -> None:
    elsewhere = {**SLICE, "device": "cuda1"}
    stranded = {**SLICE, "state": "stranded"}
    (compute,) = figures.compute_segments(DEVICE, [SLICE, elsewhere, stranded])
    (memory,) = figures.memory_segments(DEVICE, [SLICE, elsewhere, stranded])
    assert (compute.width, memory.width, compute.label) == (30.0, 25.0, "ocr")
    (busy,) = figures.busy_segments(DEVICE, [SLICE, elsewhere, stranded])
    assert busy.width == 21.5
    assert figures.busy_segments(DEVICE, [{**SLICE, "achieved_10s_pct": 0.0}]) == []
    assert compute.title == "s-1 · ocr · 30 % burst (had 21.5 % in 10 s), 1 GiB"


def test_a_tenant_keeps_its_colour() -> None:
    assert theme.colour_of("ocr") == theme.colour_of("ocr")


@pytest.mark.parametrize(
    ("mib", "text"), [(512, "512 MiB"), (1024, "1 GiB"), (1536, "1.5 GiB"), (12051, "11.8 GiB"), (0, "0 MiB")]
)
def test_memory_is_readable(mib: int, text: str) -> None:
    assert figures.memory_text(mib) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (59, "59 s"), (60, "1 min"), (3 * 3600 + 300, "3 h 5 min"), (187_200, "2 d 4 h")]
)
def test_spans_are_readable(seconds: int, text: str) -> None:
    assert figures.seconds_text(seconds) == text


def test_rows_are_newest_first_and_always_show_the_policy() -> None:
    newer = {**SLICE, "slice_id": "s-2", "created_at": "2026-11-21T11:00:00+00:00", "label": "batch"}
    rows = figures.slice_rows([SLICE, newer], datetime(2026, 11, 21, 12, tzinfo=UTC))
    assert [(row["slice_id"], row["policy"], row["age"], row["label"]) for row in rows] == [
        ("s-2", "burst", "1 h 0 min", "batch"),
        ("s-1", "burst", "2 h 0 min", "app.py on desk"),
    ]
