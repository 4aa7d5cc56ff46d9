"""Every route of the OpenAPI document, walked by those whom something does not concern: nothing is told, nothing changes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.system
#: Stands in everything that belongs to the tenant nobody else shall hear of.
OURS = "acme-secret"
#: Health and metrics have no owner; who may read them is decided by the network (docs/access.md).
PUBLIC = ("/healthz", "/readyz", "/metrics", "/api/v1/sign-in", "/api/v1/oidc")
#: Ends the stranger's own stay, and nobody else's.
OWN = ("/api/v1/session", "/api/v1/password")
#: Answers that reports take a process and a second for.
SLOW = "/api/v1/reports/"
WAITING = "r-acme-secret-waits"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.broker.conftest import launch, stop

    one = launch(tmp_path_factory.mktemp("apart") / "home")
    yield one
    stop(one)


@pytest.fixture(scope="module")
def node(broker: Any) -> Iterator[Any]:
    """A fake node with one null device, which beats as long as the tests run."""
    from gpupool_wire import messages as m
    from gpupool_wire.messages import DeviceInfo
    from tests.broker.conftest import Peer

    token = broker.rest("POST", "/api/v1/tokens", {"role": "join"})[1]["token"]
    peer = Peer(broker.url)
    info = DeviceInfo(device="null0", kind="null", model="null", memory_mib=8192)
    hello = m.AgentHello(version=m.PROTOCOL_VERSION, node="node-1", token=token, devices=[info], door="tcp://127.0.0.1:1")
    assert isinstance(peer.ask(hello), m.AgentWelcome)
    is_over = threading.Event()

    def beat() -> None:
        seq = 0
        while not is_over.wait(0.5):
            seq += 1
            peer.send(m.Beat(seq=seq))

    thread = threading.Thread(target=beat)
    thread.start()
    yield peer
    is_over.set()
    thread.join()
    peer.socket.close()


@pytest.fixture(scope="module")
def theirs(broker: Any, node: Any) -> Iterator[dict[str, str]]:
    """What belongs to the tenant: a slice, a request that waits, a reservation, a user, a token, a quota, a schedule."""

    def token(role: str, tenant: str = "") -> str:
        return str(broker.rest("POST", "/api/v1/tokens", {"role": role, "tenant": tenant, "name": f"{tenant}'s"})[1]["token"])

    ours = token("tenant", OURS)
    size = {"compute": 60, "memory": 1024, "kind": "null", "label": OURS, "project": f"{OURS}-project"}
    slice_id = broker.rest("POST", "/api/v1/slices", size, token=ours)[1]["slice_id"]
    body = {**size, "wait_s": 600, "request_id": WAITING}
    threading.Thread(target=broker.rest, args=("POST", "/api/v1/slices", body, ours), daemon=True).start()
    deadline = time.monotonic() + 20
    while not broker.rest("GET", "/api/v1/queue")[1]:
        assert time.monotonic() < deadline
    window = {"tenant": OURS, "compute": 10, "memory": 64, "start": "2998-01-01T00:00:00Z", "end": "2998-01-02T00:00:00Z"}
    reserved = broker.rest("POST", "/api/v1/reservations", window)[1]
    broker.rest("POST", "/api/v1/users", {"name": f"{OURS}-user", "role": "tenant", "tenant": OURS})
    made = broker.rest("POST", "/api/v1/tokens", {"role": "tenant", "tenant": OURS, "name": OURS})[1]
    broker.rest("PUT", f"/api/v1/quotas/{OURS}", {"compute": 100})
    plan = {"every": "daily", "tenant": OURS, "folder": "acme", "format": "json"}
    schedule = broker.rest("POST", "/api/v1/report-schedules", plan)[1]
    yield {
        "slice_id": slice_id,
        "request_id": WAITING,
        "reservation_id": reserved["reservation_id"],
        "tenant": OURS,
        "project": f"{OURS}-project",
        "user": f"{OURS}-user",
        "token_id": made["id"],
        "schedule_id": schedule.get("id") or schedule.get("schedule_id"),
        "node": "node-1",
        "device": "null0",
        # The month that runs: it cannot be closed yet.
        "period": f"{datetime.now(UTC):%Y-%m}",
        "month": f"{datetime.now(UTC):%Y-%m}",
        "report_id": "none",
        "stranger": token("tenant", "stranger"),
        "finance": token("finance"),
    }
    # Whoever waits over REST keeps a broker from stopping.
    assert broker.rest("DELETE", f"/api/v1/queue/{WAITING}")[0] == 200


def state(broker: Any) -> str:
    """Return everything that a stranger could have changed."""
    paths = ("slices", "queue", "reservations", "tenants", "users", "settings", "prices", "carbon", "report-schedules", "nodes")
    seen = {path: broker.rest("GET", f"/api/v1/{path}")[1] for path in paths}
    # Measured anew from moment to moment, whoever looks.
    moving = {"achieved_pct", "last_seen_at", "standing", "waits_since", "used_at", "throttled_10s_ms", "lease_until"}
    held = {path: [{k: v for k, v in one.items() if k not in moving} for one in rows] for path, rows in seen.items()}
    tokens = [(one["id"], one["revoked_at"]) for one in broker.rest("GET", "/api/v1/tokens")[1]]
    return json.dumps([held, tokens], indent=1)


def operations(broker: Any) -> list[tuple[str, str, dict[str, Any]]]:
    paths = broker.rest("GET", "/openapi.json", token=None)[1]["paths"]
    every = [(method.upper(), path, found) for path, methods in paths.items() for method, found in methods.items()]
    return [one for one in every if not one[1].startswith(PUBLIC) and one[1] not in OWN]


def body_for(path: str, theirs: dict[str, str]) -> dict[str, Any]:
    """Return a body that would do something, if the stranger might."""
    if path.endswith("/explain") and "{" not in path:
        return {"compute": 100, "memory": "8GiB", "near": theirs["slice_id"]}
    if path.endswith("/slices"):
        return {"compute": 100, "memory": "8GiB", "near": theirs["slice_id"], "request_id": "stranger"}
    if "/slices/" in path:
        return {"compute": 1} if path.endswith("}") else {}
    if "quotas" in path:
        return {"compute": 1}
    bodies: dict[str, dict[str, Any]] = {
        "/api/v1/users": {"name": "new", "role": "admin"},
        "/api/v1/tokens": {"role": "admin"},
        "/api/v1/settings": {"values": {"session_hours": 1}},
        "/api/v1/prices": {"valid_from": "2026-01-01", "currency": "EUR", "energy_kwh": "1"},
        "/api/v1/carbon": {"valid_from": "2026-01-01", "grams_per_kwh": "1"},
        "/api/v1/defrag": {"apply": True},
        "/api/v1/report-schedules": {"every": "daily", "folder": "x"},
        "/api/v1/reservations": {"tenant": OURS, "compute": 1, "memory": 1, "end": "2999-01-01T00:00:00Z"},
    }
    return bodies.get(path, {"zone": "UTC"} if path.endswith("freeze") else {"disabled": True} if "users" in path else {})


def walk(broker: Any, theirs: dict[str, str], token: str, named: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Ask every operation, its path filled with `named`; return the answers by operation."""
    answers = {}
    for method, path, found in operations(broker):
        url = path
        for name, value in named.items():
            url = url.replace(f"{{{name}}}", quote(value, safe=""))
        assert "{" not in url, f"{path} has a parameter this test does not know"
        body = body_for(path, theirs) if "requestBody" in found else None
        query = f"?tenant={OURS}" if path.startswith(SLOW) else ""
        status, answer = broker.rest(method, url + query, body, token=token)
        answers[f"{method} {path}"] = status, json.dumps(answer) if not isinstance(answer, str) else answer
    return answers


def test_a_stranger_is_told_nothing_and_changes_nothing(broker, theirs) -> None:
    before = state(broker)
    answers = walk(broker, theirs, theirs["stranger"], theirs)
    told = {}
    for operation, (status, text) in answers.items():
        # What the stranger named itself comes back; the rest of an answer must not know the tenant.
        for value in {theirs["slice_id"], WAITING, *(theirs[name] for name in ("reservation_id", "token_id", "user", "project"))}:
            if "error" in text[:10]:
                text = text.replace(value, "…")
        text = text.replace(OURS, "…") if status in (403, 404, 422) and text.count(OURS) == 1 else text
        if status >= 500 or OURS in text or theirs["slice_id"] in text:
            told[operation] = (status, text[:300])
    assert told == {}
    assert state(broker) == before
    assert len(answers) > 40


def test_what_is_anothers_looks_like_what_is_not_there(broker, theirs) -> None:
    nothing = {name: f"{value}-not" for name, value in theirs.items()} | {
        name: theirs[name] for name in ("period", "month", "node", "device", "tenant", "project", "stranger", "finance")
    }
    real, made_up = (walk(broker, theirs, theirs["stranger"], named) for named in (theirs, nothing))
    for name in ("slice_id", "request_id", "reservation_id", "token_id", "user", "schedule_id"):
        for operation in real:
            if f"{{{name}}}" in operation:
                status, text = real[operation]
                assert made_up[operation] == (status, text.replace(theirs[name], nothing[name])), operation


def test_finance_sees_everybody_and_changes_nobody(broker, theirs) -> None:
    before = state(broker)
    answers = walk(broker, theirs, theirs["finance"], theirs)
    assert OURS in answers["GET /api/v1/slices"][1]
    allowed = {operation for operation, (status, _) in answers.items() if status < 300 and not operation.startswith("GET")}
    assert allowed <= {"POST /api/v1/explain"} | {operation for operation in answers if operation.endswith("/preview")}
    assert {operation: status for operation, (status, _) in answers.items() if status >= 500} == {}
    assert state(broker) == before
