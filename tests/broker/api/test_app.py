"""REST of a real broker: shapes, roles, errors of one form."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.system

SLICE = {"compute": 25, "memory": "512MiB", "kind": "null", "label": "test"}


def test_a_slices_life_over_rest(start_broker, agent) -> None:
    broker = start_broker()
    node = agent(broker)
    status, made = broker.rest("POST", "/api/v1/slices", SLICE)
    assert (status, made["state"], made["hold"], made["policy"]) == (201, "live", "held", "fixed")
    path = f"/api/v1/slices/{made['slice_id']}"
    status, changed = broker.rest("PATCH", path, {"memory": "1 GiB"})
    assert (status, changed["compute_pct"], changed["memory_mib"]) == (200, 25, 1024)
    status, ended = broker.rest("DELETE", path)
    assert (status, ended["state"]) == (200, "released")
    assert [row["slice_id"] for row in broker.rest("GET", "/api/v1/slices")[1]] == []
    story = broker.rest("GET", path)[1]["story"]
    assert [line["fact"] for line in story] == ["SliceGranted", "SliceResized", "SliceEnded"]
    assert node.welcome


def test_inventory_and_health(start_broker, agent) -> None:
    broker = start_broker()
    _node = agent(broker)
    assert broker.rest("GET", "/healthz", token=None) == (200, "ok\n")
    assert broker.rest("GET", "/readyz", token=None) == (200, "ok\n")
    (node,) = broker.rest("GET", "/api/v1/nodes")[1]
    assert (node["node"], node["state"], node["devices"]) == ("node-1", "up", 1)
    (device,) = broker.rest("GET", "/api/v1/devices")[1]
    assert (device["kind"], device["memory_mib"], device["compute_allocated_pct"]) == ("null", 8192, 0)
    metrics = broker.rest("GET", "/metrics", token=None)[1]
    assert 'gpupool_node_up{node="node-1"} 1.0' in metrics


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compute": 0}, "1 to 100"),
        ({"compute": 101}, "1 to 100"),
        ({"compute": "12.5"}, "1 to 100"),
        ({"memory": 0}, "memory must be 1 to"),
        ({"memory": "1.5 GB"}, "not a whole number of MiB"),
        ({"memory": "lots"}, "is not understood"),
        ({"policy": "greedy"}, "policy"),
        ({"wait_s": -1}, "wait_s"),
        ({"label": "x" * 10_000}, "label"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_requests_name_what_is_wrong(empty_broker, change: dict[str, object], words: str) -> None:
    status, answer = empty_broker.rest("POST", "/api/v1/slices", {**SLICE, **change})
    assert status == 422
    assert words in answer["error"]["message"]


def test_every_error_has_the_one_shape(empty_broker) -> None:
    broker = empty_broker
    asked = [
        broker.rest("GET", "/nowhere"),
        broker.rest("PUT", "/api/v1/slices"),
        broker.rest("GET", "/api/v1/slices", token=None),
        broker.rest("GET", "/api/v1/slices", token="wrong"),
        broker.rest("GET", "/api/v1/slices/none"),
        broker.rest("POST", "/api/v1/slices", b"{not json"),
        broker.rest("POST", "/api/v1/slices", b"\xff\xfe"),
        broker.rest("POST", "/api/v1/slices", SLICE),
    ]
    assert [status for status, _ in asked] == [404, 405, 401, 401, 404, 422, 422, 409]
    assert [set(answer["error"]) for _, answer in asked] == [{"code", "message", "details"}] * len(asked)


def test_roles_see_and_change_what_is_theirs(start_broker, agent) -> None:
    broker = start_broker()
    _node = agent(broker)

    def token(role: str, tenant: str = "") -> str:
        return broker.rest("POST", "/api/v1/tokens", {"role": role, "tenant": tenant})[1]["token"]

    ours, theirs, finance = token("tenant", "a"), token("tenant", "b"), token("finance")
    made = broker.rest("POST", "/api/v1/slices", SLICE, token=ours)[1]
    path = f"/api/v1/slices/{made['slice_id']}"
    assert broker.rest("GET", "/api/v1/slices", token=theirs)[1] == []
    assert broker.rest("GET", path, token=theirs)[0] == 404
    assert broker.rest("DELETE", path, token=theirs)[0] == 404
    assert broker.rest("GET", path, token=finance)[0] == 200
    assert broker.rest("DELETE", path, token=finance)[0] == 403
    assert broker.rest("GET", "/api/v1/tokens", token=ours)[0] == 403
    assert broker.rest("DELETE", path, token=ours)[0] == 200


def test_a_revoked_token_is_worth_nothing(empty_broker) -> None:
    broker = empty_broker
    made = broker.rest("POST", "/api/v1/tokens", {"role": "finance", "name": "f"})[1]
    assert broker.rest("GET", "/api/v1/whoami", token=made["token"])[1]["role"] == "finance"
    assert broker.rest("DELETE", f"/api/v1/tokens/{made['id']}")[1]["revoked_at"]
    assert broker.rest("GET", "/api/v1/whoami", token=made["token"])[0] == 401
    assert made["token"] not in str(broker.rest("GET", "/api/v1/tokens")[1])
