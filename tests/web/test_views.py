"""What pages show of REST's JSON: the figures, every alarm, and whatever a stranger wrote as text."""

from __future__ import annotations

from typing import Any

import pytest

from gpupool_web.tables import PAGE_ROWS, Column, pager, table
from gpupool_web.views import devices, overview, queue, slices, tenants
from gpupool_web.views.story import sentence, story
from gpupool_web.words import CHINESE, Words

SAY = Words()
SCRIPT = "<script>alert(1)</script>"
TOTALS: dict[str, Any] = {
    "nodes": 3,
    "nodes_up": 2,
    "devices": 12,
    "devices_up": 8,
    "compute_offered_pct": 800,
    "compute_allocated_pct": 400,
    "compute_busy_pct": 200.0,
    "memory_offered_mib": 8192,
    "memory_allocated_mib": 4096,
    "memory_used_mib": 1024,
    "slices": 7,
    "stranded": 1,
    "paused": 0,
    "waiting": 0,
}
SEEN: dict[str, Any] = {
    "totals": TOTALS,
    "alarms": [],
    "alarm_count": 0,
    "tenants": [],
    "tenant_count": 0,
    "waiting": [],
}
SLICE: dict[str, Any] = {
    "slice_id": "s-1",
    "tenant": SCRIPT,
    "project": "",
    "node": "n1",
    "device": "cuda0",
    "model": "H200",
    "state": "live",
    "is_starving": True,
    "compute_pct": 30,
    "policy": "burst",
    "achieved_10s_pct": 12.5,
    "achieved_pct": 10.0,
    "memory_mib": 1024,
    "memory_used_bytes": 512 * 2**20,
    "throttled_10s_ms": 2_500,
    "device_ms": 61_000.0,
    "throttled_ms": 0.0,
    "calls": 1_234,
    "created_at": "2026-11-21T10:00:00Z",
    "label": SCRIPT,
    "holder": "app.py on desk",
    "hold": "attached",
    "lease_until": "2026-11-21T10:01:00Z",
    "reason": "",
    "notice": "",
    "paused_by": "",
    "model_count": 3,
    "models": [
        {"name": SCRIPT, "weight_bytes": 3 * 2**20, "sessions": 2, "is_loaded": True},
        {"name": "rec", "weight_bytes": 2**20, "sessions": 1, "is_loaded": False},
    ],
    "story": [{"at": "2026-11-21T10:00:00Z", "fact": "SliceGranted", "text": SCRIPT}],
}


def test_the_overview_says_how_much_is_held_used_and_idle() -> None:
    shown = overview.tiles(SAY, SEEN)
    assert "allocated 50 %, used 25 %, idle 75 %" in shown
    assert "4 of 8 devices" in shown
    assert "2 of 3 nodes up" in shown
    assert "8 of 12 devices up · 1 stranded" in shown
    assert "Every request has been served." in shown
    assert "已分配 50 %" in overview.tiles(Words(CHINESE), SEEN)


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("node_lost", {"devices": 4}, "Node x is lost; 4 devices are away."),
        ("slice_stranded", {"tenant": "t", "reason": "gone"}, "Slice x of t has lost its device: gone"),
        ("slice_starving", {"tenant": "t", "achieved_pct": 3.5, "compute_pct": 20}, "it has 3.5 % of its 20 %"),
        ("slice_noticed", {"tenant": "t", "reason": "soon"}, "will be evicted: soon"),
        (
            "quota_over",
            {"dimension": "memory", "held": 2048, "limit": 1024},
            "x holds more memory than its quota: 2 GiB of 1 GiB.",
        ),
        ("quota_near", {"dimension": "compute", "held": 95, "limit": 100}, "x is near its quota of compute: 95 of 100."),
        ("reservation_lacking", {"reason": "full"}, "Reservation x lacks room: full"),
        ("news", {}, "news"),
    ],
)
def test_every_alarm_is_said(kind: str, values: dict[str, Any], words: str) -> None:
    severity = "bad" if kind != "quota_near" else "warn"
    alarm = {"kind": kind, "severity": severity, "subject": "x", "values": values}
    assert words in overview.alarms(SAY, {**SEEN, "alarms": [alarm], "alarm_count": 1})


def test_alarms_beyond_those_shown_are_counted() -> None:
    alarm = {"kind": "node_lost", "severity": "bad", "subject": "x", "values": {"devices": 1}}
    assert "and 1,992 more" in overview.alarms(SAY, {**SEEN, "alarms": [alarm] * 50, "alarm_count": 2_000})


def test_a_pool_without_anything_is_shown() -> None:
    empty = {**SEEN, "totals": dict.fromkeys(TOTALS, 0)}
    assert "allocated 0 %, used 0 %, idle 100 %" in overview.tiles(SAY, empty)
    assert "Nothing is wrong." in overview.alarms(SAY, empty)
    assert "within seconds" in overview.history(SAY, [])
    assert "Nobody holds anything." in overview.tenants(SAY, empty)


def test_what_a_stranger_wrote_is_text() -> None:
    views = [
        slices.slices(SAY, [SLICE], ""),
        slices.summary(SAY, SLICE),
        story(SAY, SLICE),
        devices.node_facts(SAY, _node(labels={SCRIPT: SCRIPT}, door=SCRIPT)),
    ]
    assert all("<script" not in view and "&lt;script&gt;" in view for view in views)


def test_a_slice_that_starves_and_its_lease_are_told() -> None:
    assert "starving" in slices.slices(SAY, [SLICE], "-compute")
    shown = slices.summary(SAY, SLICE)
    assert "as long as its client" in shown
    assert "0.5 of 1 GiB" in shown or "512 MiB of 1 GiB" in shown
    assert "3.0 MiB" in shown
    assert "1.0 MiB, unloaded" in shown
    assert "and 1 more" in shown


def test_a_story_is_told_in_the_viewers_language() -> None:
    figures = {"compute_pct": 15, "memory_mib": 256, "reason": ""}
    line = {"at": "2026-11-21T10:00:00Z", "fact": "SliceResized", "text": "as the broker says", "figures": figures}
    assert sentence(SAY, line) == "resized to 15 % and 256 MiB"
    assert sentence(Words(CHINESE), line) == "调整为 15 % 算力与 256 MiB 显存"
    ended = {**line, "fact": "SliceEnded", "figures": {"how": "evicted", "reason": "room"}}
    assert sentence(Words(CHINESE), ended) == "已回收：room"


@pytest.mark.parametrize(
    "change", [{"fact": "SomethingNew"}, {"figures": {}}, {"fact": "SliceNoticed", "figures": {"reason": ""}}]
)
def test_what_has_no_sentence_here_is_told_as_the_broker_tells_it(change: dict[str, Any]) -> None:
    line = {"at": "2026-11-21T10:00:00Z", "fact": "SliceResized", "text": "as the broker says", "figures": {}}
    assert sentence(SAY, {**line, **change}) == "as the broker says"


def test_what_a_board_does_not_say_is_not_made_up() -> None:
    device = {**_device(), "temperature_c": 61, "xid": None}
    assert "Temperature 61 °C" in devices.devices(SAY, [device], empty="")
    assert "not measured" in devices.devices(SAY, [device], empty="")
    assert "temperature, power, clocks, ECC and Xid: not measured" in devices.devices(SAY, [_device()], empty="")


def test_a_request_that_waits_can_be_cancelled_by_who_may() -> None:
    row = {
        "position": 1,
        "request_id": "r",
        "tenant": "t",
        "project": "",
        "priority": 50,
        "holder": "h",
        "label": "",
        "gpus": 2,
        "compute_pct": 50,
        "memory_mib": 1024,
        "waits_since": "2026-11-21T10:00:00Z",
        "reason": SCRIPT,
    }
    assert "Cancel request r" in queue.queue(SAY, [row], may_cancel=True)
    assert "Cancel request r" not in queue.queue(SAY, [row], may_cancel=False)
    assert "50 %, 1 GiB × 2" in queue.queue(SAY, [row], may_cancel=False)


def test_a_quotas_effect_is_said_line_by_line() -> None:
    effect = {
        "account": "t",
        "over": [{"account": "t", "what": ["compute 40 % of 30 %"]}],
        "projects_above": ["t/p"],
        "freed": 1,
        "blocked": 2,
        "guaranteed_pct": 130,
        "offered_pct": 100,
        "borrowed_pct": 0,
    }
    shown = tenants.effect(SAY, effect)
    for words in ("t would be over: compute 40 % of 30 %", "t/p", "2 waiting", "1 waiting", "130 %, and there are 100 %"):
        assert words in shown
    nothing = {"over": [], "projects_above": [], "freed": 0, "blocked": 0, "guaranteed_pct": 0}
    assert "Nobody would be over." in tenants.effect(SAY, {**effect, **nothing})


def test_an_empty_field_of_a_quota_limits_nothing() -> None:
    asked = tenants.as_request({"compute": 200.0, "memory": "", "slices": None, "guaranteed_memory": "1GiB"}, 3)
    assert asked == {"compute": 200, "guaranteed_memory": "1GiB", "revision": 3}


def test_a_table_says_its_order_and_offers_the_other() -> None:
    shown = table([Column("Size", "size", is_number=True), Column("Name", "name")], [["1", "<b>"]], "Things", sort="-size")
    assert 'aria-sort="descending"' in shown
    assert 'data-with="size"' in shown
    assert 'data-with="name"' in shown
    assert "&lt;b&gt;" in shown


def test_a_long_list_is_paged() -> None:
    assert "51 to 100 of 10,000" in pager(SAY, 50, 50, 10_000)
    assert f'data-with="{PAGE_ROWS}"' in pager(SAY, 0, PAGE_ROWS, 10_000)
    assert "7 in all" in pager(SAY, 0, 7, 7)


def _node(**changes: Any) -> dict[str, Any]:
    plain = {"node": "n", "devices": 1, "slices": 0, "door": "d", "joined_at": "2026-11-21T10:00:00Z", "last_seen_at": None}
    return {**plain, "labels": {}, **changes}


def _device() -> dict[str, Any]:
    return {
        "node": "n1",
        "device": "cuda0",
        "kind": "cuda",
        "model": "H200",
        "state": "up",
        "memory_mib": 4096,
        "compute_allocated_pct": 30,
        "memory_allocated_mib": 1024,
        "busy_pct": 21.5,
        "held": [],
    }
