"""What admins do over the control port, in the audit log."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gpupool_wire import messages as m

pytestmark = pytest.mark.system


def entries(broker: Any, action: str, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10
    while len(found := broker.rest("GET", f"/api/v1/audit?action={action}")[1]) < count:
        assert time.monotonic() < deadline, found
    return found  # type: ignore[no-any-return]


def test_an_admin_that_touches_anothers_slice_is_recorded_with_before_and_after(start_broker, agent, client) -> None:
    broker = start_broker()
    node = agent(broker)
    ours = broker.rest("POST", "/api/v1/tokens", {"role": "tenant", "tenant": "ocr"})[1]["token"]
    theirs, own = (
        broker.rest("POST", "/api/v1/slices", {"compute": 10, "memory": 64, "kind": "null"}, token=token)[1]["slice_id"]
        for token in (ours, "admin")
    )
    admin = client(broker)
    for call, slice_id in enumerate((theirs, own), 1):
        admin.ask(m.ResizeSlice(call_id=call, request_id=f"r{call}", slice_id=slice_id, compute_pct=20))
    admin.ask(m.ReleaseSlice(call_id=3, request_id="r3", slice_id=theirs))
    admin.ask(m.ReleaseSlice(call_id=4, request_id="r4", slice_id="none"))
    resized = entries(broker, "slices.resize", 1)
    assert [(one["target"], one["before"]["compute_pct"], one["after"]["compute_pct"]) for one in resized] == [(theirs, 10, 20)]
    refused, released = entries(broker, "slices.release", 2)
    assert (refused["target"], refused["outcome"], refused["address"]) == ("none", "not_found", "control port")
    assert (released["after"]["state"], released["who"]) == ("released", "first admin")
    assert node.welcome


def test_a_node_that_joins_is_recorded(start_broker, agent) -> None:
    broker = start_broker()
    node = agent(broker, "node-7")
    (entry,) = entries(broker, "inventory.join", 1)
    assert (entry["who"], entry["role"]) == ("node-7", "node")
    assert node.welcome


def test_a_token_that_may_only_read_is_not_greeted(start_broker, peer) -> None:
    broker = start_broker()
    token = broker.rest("POST", "/api/v1/tokens", {"role": "admin", "read_only": True})[1]["token"]
    answer = peer(broker.url).ask(m.Hello(version=m.PROTOCOL_VERSION, token=token, name="test"))
    assert isinstance(answer, m.Failed)
    assert "may look and change nothing" in answer.error.message
