"""The trace, against the Trace Event Format as Google documents it (JSON object form; "X" and "M" events)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpupool.profiling import Part, Span
from gpupool.profiling.trace import write

MS = 1_000_000


def check(document: Any) -> list[dict[str, Any]]:
    """Check a document against what the format asks for; return its complete events."""
    assert isinstance(document["traceEvents"], list)
    assert document["displayTimeUnit"] in ("ms", "ns")
    named = set()
    for event in document["traceEvents"]:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
            assert isinstance(event["args"]["name"], str)
            named.add((event["name"], event["pid"], event["tid"]))
            continue
        assert event["ph"] == "X"
        assert isinstance(event["cat"], str)
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        assert isinstance(event["args"], dict)
        assert ("thread_name", event["pid"], event["tid"]) in named
    complete = [event for event in document["traceEvents"] if event["ph"] == "X"]
    for thread in {(event["pid"], event["tid"]) for event in complete}:
        check_nesting([event for event in complete if (event["pid"], event["tid"]) == thread])
    return complete


def check_nesting(events: list[dict[str, Any]]) -> None:
    """Events of one thread lie beside or inside each other, and never overlap in part."""
    open_until: list[float] = []
    for event in sorted(events, key=lambda event: (event["ts"], -event["dur"])):
        while open_until and open_until[-1] <= event["ts"] + 1e-6:
            open_until.pop()
        assert not open_until or event["ts"] + event["dur"] <= open_until[-1] + 1e-3
        open_until.append(event["ts"] + event["dur"])


def test_a_trace_is_what_the_format_asks_for(span: Callable[..., Span], tmp_path: Path) -> None:
    parts = (Part(name="matmul", calls=2), Part(name="read", calls=1))
    spans = [span(), span(pid=20, thread_id=21), span(kind="arrays", parts=parts), span(kind="open", error="limit")]
    write(tmp_path / "trace.json", spans)
    events = check(json.loads((tmp_path / "trace.json").read_text()))
    assert [event["name"] for event in events if event["cat"] == "model"] == ["rec.onnx", "queue", "throttle", "execution"] * 2
    whole = events[0]
    assert (whole["ts"], whole["dur"]) == (1_000_000.0, 10_000.0)
    # 3 ms of transfer, of which a quarter of the bytes went up: the queue begins after 0.75 ms.
    assert events[1]["ts"] - whole["ts"] == 750
    assert events[3]["ts"] + events[3]["dur"] == whole["ts"] + 7_750
    (batch,) = [event for event in events if event["name"] == "3 operations"]
    assert batch["args"]["operations"] == {"matmul": 2, "read": 1}
    assert [event["args"]["error"] for event in events if event["name"] == "open rec.onnx"] == ["limit"]


def test_times_that_do_not_fit_do_not_overlap(span: Callable[..., Span], tmp_path: Path) -> None:
    """The worker's clock may say a little more than the caller waited."""
    write(tmp_path / "trace.json", [span(wall_ns=5 * MS)])
    check(json.loads((tmp_path / "trace.json").read_text()))
