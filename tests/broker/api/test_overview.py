"""The pool at a glance over REST: a tenant sees its own, lists come in parts, a quota can be tried before it is set."""

from __future__ import annotations

import json
import urllib.request

import pytest

pytestmark = pytest.mark.system

SLICE = {"compute": 25, "memory": "512MiB", "kind": "null"}


@pytest.fixture
def shared(start_broker, agent):
    """A broker with a node, a slice of the admin's tenant and one of another, and that other's token."""
    broker = start_broker()
    node = agent(broker)
    other = broker.rest("POST", "/api/v1/tokens", {"role": "tenant", "tenant": "acme"})[1]["token"]
    mine = broker.rest("POST", "/api/v1/slices", SLICE)[1]["slice_id"]
    theirs = broker.rest("POST", "/api/v1/slices", {**SLICE, "label": "<script>"}, token=other)[1]["slice_id"]
    yield broker, other, mine, theirs
    assert node.welcome


def test_everybody_sees_the_pool_and_a_tenant_its_part(shared) -> None:
    broker, other, _, theirs = shared
    whole = broker.rest("GET", "/api/v1/overview")[1]
    assert (whole["totals"]["compute_allocated_pct"], whole["totals"]["slices"], whole["tenant_count"]) == (50, 2, 2)
    part = broker.rest("GET", "/api/v1/overview", token=other)[1]
    assert (part["tenant"], part["totals"]["slices"], [one["tenant"] for one in part["tenants"]]) == ("acme", 1, ["acme"])
    (device,) = broker.rest("GET", "/api/v1/devices?with_slices=true", token=other)[1]
    assert [(one["slice_id"], one["tenant"], one["label"]) for one in device["held"]] == [
        (theirs, "acme", "<script>"),
        ("", "", ""),
    ]


def test_a_slice_over_time_is_its_owners(shared) -> None:
    broker, other, mine, theirs = shared
    course = broker.rest("GET", f"/api/v1/slices/{theirs}/course?hours=1", token=other)[1]
    assert course["slice_id"] == theirs
    assert all(0 <= one["granted_pct"] <= 25 for one in course["stretches"])
    assert broker.rest("GET", f"/api/v1/slices/{mine}/course", token=other)[0] == 404
    assert broker.rest("GET", f"/api/v1/slices/{mine}/course?hours=1000")[0] == 422


def test_lists_come_in_parts(shared) -> None:
    broker, _, _, theirs = shared
    request = urllib.request.Request(f"{broker.http}/api/v1/slices?limit=1&sort=-created&words=acme")
    request.add_header("Authorization", f"Bearer {broker.token}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.headers["X-Total-Count"] == "1"
        assert [row["slice_id"] for row in json.loads(answer.read())] == [theirs]
    assert broker.rest("GET", "/api/v1/slices?sort=beauty")[0] == 422


def test_a_node_with_its_devices(shared) -> None:
    broker, other, *_ = shared
    node = broker.rest("GET", "/api/v1/nodes/node-1", token=other)[1]
    assert [len(device["held"]) for device in node["device_list"]] == [2]
    assert broker.rest("GET", "/api/v1/nodes/elsewhere")[0] == 404


def test_a_quota_is_tried_before_it_is_set(shared) -> None:
    broker, other, *_ = shared
    effect = broker.rest("POST", "/api/v1/quotas/acme/preview", {"compute": 10})[1]
    assert effect["over"] == [{"account": "acme", "what": ["compute 25 % of 10 %"]}]
    assert broker.rest("POST", "/api/v1/quotas/acme/preview", {"compute": 10}, token=other)[0] == 403
    acme = next(row for row in broker.rest("GET", "/api/v1/tenants")[1] if row["tenant"] == "acme")
    assert acme["quota"]["revision"] == 0


def test_the_history_is_there_and_bounded(empty_broker) -> None:
    assert isinstance(empty_broker.rest("GET", "/api/v1/history?hours=24")[1], list)
    assert empty_broker.rest("GET", "/api/v1/history?hours=25")[0] == 422
