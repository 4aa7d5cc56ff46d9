"""The scheduler of a whole pool, over REST and by programs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytestmark = pytest.mark.system

SLICE = {"compute": 60, "memory": "512MiB", "kind": "null"}


@dataclass
class Rest:
    """The broker's REST as a script sees it: status and body, whatever they are."""

    http: str
    token: str

    def rest(self, method: str, path: str, body: object = None, *, token: str | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.http + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def null_pool(make_pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes with a null device each."""
    pool = make_pool(tmp_path_factory.mktemp("null-pool"))
    try:
        for node in ("one", "two"):
            pool.start_agent(node, "--device", "null")
        yield pool
    finally:
        pool.close()


@pytest.fixture
def broker(null_pool: Any) -> Iterator[Rest]:
    rest = Rest(null_pool.http, null_pool.token)
    yield rest
    for row in rest.rest("GET", "/api/v1/slices")[1]:
        if row["state"] != "reserved":
            rest.rest("DELETE", f"/api/v1/slices/{row['slice_id']}")


def tenant_token(broker: Rest, tenant: str) -> str:
    return broker.rest("POST", "/api/v1/tokens", {"role": "tenant", "tenant": tenant})[1]["token"]


def test_a_gang_is_granted_whole(broker: Rest) -> None:
    status, gang = broker.rest("POST", "/api/v1/slices", {**SLICE, "gpus": 2})
    assert status == 201
    assert [row["gang"] for row in gang["slices"]] == [gang["gang"]] * 2
    assert len({row["node"] for row in gang["slices"]}) == 2
    status, error = broker.rest("POST", "/api/v1/slices", {**SLICE, "gpus": 2})
    assert (status, "asked 2 devices" in error["error"]["message"]) == (409, True)


def test_an_elastic_slice_shows_its_range(broker: Rest) -> None:
    made = broker.rest("POST", "/api/v1/slices", {**SLICE, "compute": "10..50"})[1]
    assert (made["compute_pct"], made["compute_min_pct"], made["compute_max_pct"]) == (50, 10, 50)


def test_what_waits_is_listed_explained_and_cancelled(broker: Rest, until) -> None:
    for _ in range(2):
        broker.rest("POST", "/api/v1/slices", SLICE)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(broker.rest, "POST", "/api/v1/slices", {**SLICE, "request_id": "patient", "wait_s": 60})
        until(lambda: [row["request_id"] for row in broker.rest("GET", "/api/v1/queue")[1]] == ["patient"])
        told = broker.rest("GET", "/api/v1/queue/patient/explain")[1]
        assert told["position"] == 1
        assert told["message"].startswith("request patient is number 1 of 1: asked 60 % compute")
        assert any(change.startswith("asking for 40 %") for change in told["changes"])
        stranger = tenant_token(broker, "stranger")
        assert broker.rest("GET", "/api/v1/queue", token=stranger)[1] == []
        assert broker.rest("DELETE", "/api/v1/queue/patient", token=stranger)[0] == 404
        assert broker.rest("DELETE", "/api/v1/queue/patient") == (200, {"request_id": "patient"})
        status, error = waits.result(30)
    assert (status, "cancelled by admin" in error["error"]["message"]) == (409, True)


def test_projects_have_quotas_of_their_own(broker: Rest) -> None:
    status, shown = broker.rest("PUT", "/api/v1/quotas/acme/projects/ocr", {"compute": 50, "guaranteed_compute": 20})
    assert (status, shown["tenant"], shown["quota"]["guaranteed_pct"]) == (200, "acme/ocr", 20)
    token = tenant_token(broker, "acme")
    status, error = broker.rest("POST", "/api/v1/slices", {**SLICE, "project": "ocr"}, token=token)
    assert (status, "project acme/ocr may hold 50 %" in error["error"]["message"]) == (409, True)
    assert broker.rest("POST", "/api/v1/slices", SLICE, token=token)[0] == 201
    rows = broker.rest("GET", "/api/v1/tenants", token=token)[1]
    assert [(row["tenant"], row["compute_pct"]) for row in rows] == [("acme", 60), ("acme/ocr", 0)]


def test_a_slice_is_paused_and_resumed(broker: Rest) -> None:
    made = broker.rest("POST", "/api/v1/slices", SLICE)[1]
    path = f"/api/v1/slices/{made['slice_id']}"
    paused = broker.rest("POST", f"{path}/pause")[1]
    assert (paused["state"], paused["paused_by"]) == ("paused", "admin first admin")
    assert broker.rest("POST", f"{path}/pause")[0] == 409
    assert broker.rest("POST", f"{path}/resume")[1]["state"] == "live"
    assert [line["fact"] for line in broker.rest("GET", path)[1]["story"]][-2:] == ["SlicePaused", "SliceResumed"]


def test_reservations_are_made_kept_and_cancelled(broker: Rest, until) -> None:
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    wanted = {"tenant": "night", "gpus": 2, "compute": 80, "memory": "1GiB", "kind": "null", "end": end}
    status, made = broker.rest("POST", "/api/v1/reservations", wanted)
    assert (status, made["gpus"]) == (201, 2)
    until(lambda: broker.rest("GET", "/api/v1/reservations")[1][0]["kept"] == 2)
    assert broker.rest("POST", "/api/v1/slices", SLICE)[0] == 409
    assert broker.rest("DELETE", f"/api/v1/reservations/{made['reservation_id']}")[0] == 200
    assert broker.rest("POST", "/api/v1/slices", SLICE)[0] == 201
    assert broker.rest("DELETE", f"/api/v1/reservations/{made['reservation_id']}")[0] == 404
    assert broker.rest("POST", "/api/v1/reservations", {**wanted, "end": "2001-01-01T00:00:00Z"})[0] == 422


def test_a_what_if_names_labels_speeds_and_priorities(broker: Rest) -> None:
    asked = {"memory": "1GiB", "kind": "null", "tflops": 50}
    told = broker.rest("POST", "/api/v1/explain", asked)[1]
    assert told["devices"][0]["blocked_by"] == "it is not as fast as 50 TFLOPS"
    told = broker.rest("POST", "/api/v1/explain", {**SLICE, "node_labels": {"zone": "a"}})[1]
    assert told["devices"][0]["blocked_by"].startswith("it is null")
    token = tenant_token(broker, "acme")
    told = broker.rest("POST", "/api/v1/explain", {**SLICE, "priority": 90}, token=token)[1]
    assert "acme may ask with a priority of up to 50, not 90" in told["quota"]
    assert broker.rest("POST", "/api/v1/explain", {"memory": "1GiB"})[0] == 422


def test_moving_idle_slices_is_planned_and_done_on_demand(broker: Rest) -> None:
    status, plan = broker.rest("POST", "/api/v1/defrag", {})
    assert (status, plan["is_applied"], plan["moves"]) == (200, False, [])
    assert broker.rest("POST", "/api/v1/defrag", {"apply": True})[1]["is_applied"] is True
    assert broker.rest("POST", "/api/v1/defrag", {"at_most_pct": 50})[0] == 422
